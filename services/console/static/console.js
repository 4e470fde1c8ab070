'use strict';

const $ = id => document.getElementById(id);
const meta = name => document.querySelector(`meta[name=${name}]`).content;
const ui = meta('ui');
const whole = new Intl.NumberFormat('en');
const count = n => whole.format(Math.round(n));
const rate = n => n >= 0.05 ? `${n >= 10 ? count(n) : n.toFixed(1)}/s` : '0/s';
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? '' : 's'}`;
const clock = date => date.toLocaleTimeString('en-GB');

// duration says how long a number of seconds is.
function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round(seconds % 3600 / 60)} min`;
}

// text sets the text of an element, if it is another one: readers of the screen are told of each change.
function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function flag(element, name, on) { element.toggleAttribute(name, on); }

function make(tag, content, className) {
  const element = document.createElement(tag);
  if (content !== undefined) element.textContent = content;
  if (className) element.className = className;
  return element;
}

// node shows a part of the way: how it is in colour, and in words.
function node(id, is, state, more) {
  const element = $(id);
  element.dataset.is = is;
  text(element.querySelector('.state'), state);
  if (more !== undefined) text(element.querySelector('.muted'), more);
}

function edge(element, perSecond, cut, words) {
  flag(element, 'data-cut', cut);
  flag(element, 'data-flows', !cut && perSecond >= 0.05);
  text(element.querySelector('.rate'), words || rate(perSecond));
}

// hidden tells whether a part may be there and cannot be seen: those that are known by their group, while Kafka is away.
const hidden = (s, part) => !s.kafka.up && part.name !== 'random';

let highest = 0; // that has waited, for the height of the tank

function way(s) {
  $('parts').replaceChildren(...s.parts.map(p => p.up ? make('li', `● ${p.name}`, 'good') :
    hidden(s, p) ? make('li', `? ${p.name}`, 'muted') : make('li', `✕ ${p.name}: away`, 'bad')));
  $('services').dataset.is = s.parts.every(p => p.up) ? 'good' : 'warn';
  const spans = s.spans, held = s.relay.up && s.relay.state === 'holding';
  highest = Math.max(spans.waiting, highest, 1);
  $('tank').style.setProperty('--fill', `${Math.min(100, 100 * spans.waiting / Math.max(highest, 200))}%`);
  if (!s.kafka.up) node('tank', 'bad', '✕ Kafka is away');
  else node('tank', spans.waiting > 0 && (held || !s.jaeger.up) ? 'warn' : 'good', spans.waiting > 0 ? `${plural(spans.waiting, 'span')} waiting` : 'nothing waits');
  if (!s.relay.up) node('relay', 'bad', '✕ away', 'what is on Kafka waits for it');
  else if (held) node('relay', 'warn', '■ holding', `for ${duration((new Date(s.at) - new Date(s.relay.since)) / 1000)}: retrying`);
  else node('relay', 'good', `● ${s.relay.state}`, 'commits spans once Jaeger has accepted them');
  if (s.jaeger.up) node('jaeger', 'good', '● up', 'stores the spans');
  else node('jaeger', 'bad', '✕ down', 'spans wait on Kafka');
  edge($('edge-in'), spans.in, !s.kafka.up);
  edge($('edge-relay'), spans.out, !s.kafka.up || !s.relay.up);
  edge($('edge-out'), spans.out, !s.jaeger.up || !s.relay.up, s.jaeger.up ? undefined : 'cut');
}

// headline says in a sentence how things are.
function headline(s) {
  const waiting = plural(s.spans.waiting, 'span'), away = s.parts.filter(p => !p.up).map(p => p.name);
  const lost = s.relay.up ? s.spans.lost : 0;
  let is = 'good', said = '● All is well', more = 'Every span on Kafka is delivered.';
  if (!s.kafka.up) {
    [is, said, more] = ['bad', '✕ Kafka is away', 'The services keep their spans in memory until it is back.'];
  } else if (!s.jaeger.up && !s.relay.up) {
    [is, said, more] = ['bad', '✕ Jaeger and the relay are down', `${waiting} wait on Kafka.`];
  } else if (!s.jaeger.up) {
    [is, said, more] = ['warn', '■ Jaeger is down', `${waiting} wait on Kafka, and the services go on.`];
  } else if (!s.relay.up) {
    [is, said, more] = ['warn', '■ The relay is away', `${waiting} wait on Kafka until it is back.`];
  } else if (s.relay.state === 'holding') {
    [is, said, more] = ['warn', '■ The relay is holding', s.relay.last_error || ''];
  } else if (s.spans.waiting > 0) {
    [said, more] = ['● Delivering', `${waiting} are on their way to Jaeger.`];
  } else if (lost > 0) {
    [is, said, more] = ['bad', '✕ Spans were lost', ''];
  } else if (setAside(s) > 0) {
    more = 'Every span on Kafka is delivered, or set aside: see below.';
  }
  if (is === 'good' && away.length > 0) {
    [is, said, more] = ['warn', `■ ${away.join(' and ')} ${away.length === 1 ? 'is' : 'are'} away`, 'What they have to do waits on Kafka.'];
  }
  if (lost > 0) more += ` ${plural(lost, 'span')} never came to Kafka: a service had to drop them.`;
  const element = $('headline');
  element.className = `headline ${is}`;
  text(element.firstChild, said);
  text($('subline'), more);
}

function setAside(s) {
  return Object.entries(s.topics).reduce((sum, [name, t]) => sum + (name.endsWith('-dlq') ? t.records : 0), 0);
}

function figures(s) {
  text($('written'), count(s.spans.written));
  text($('delivered'), count(s.spans.delivered));
  text($('waiting'), count(s.spans.waiting));
  if (s.kafka.up) text($('aside'), count(setAside(s)));
  text($('lost'), s.relay.up ? count(s.spans.lost) : '?');
  $('lost').className = s.relay.up && s.spans.lost > 0 ? 'bad' : '';
  text($('oldest'), s.relay.oldest ? duration((new Date(s.at) - new Date(s.relay.oldest)) / 1000) : '–');
}

const svg = (tag, attributes) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

let past = [], latest;

// step is the smallest of some steps that divides a whole into few enough parts.
const step = (whole, parts, steps) => steps.find(one => whole / one <= parts) ?? steps[steps.length - 1];
const clockSteps = [1, 5, 10, 15, 30, 60, 120, 300].map(s => s * 1000);
const spanSteps = [...Array(9).keys()].flatMap(power => [10, 20, 50].map(n => n * 10 ** power));

// timeline draws what waited in the last minute, or since the last outage began, if that goes on or has just ended.
function timeline(s) {
  const width = $('timeline').clientWidth, height = 146, end = Date.parse(s.at);
  past = past.filter(p => p.t > end - 600_000);
  const outages = s.outages.map(o => ({from: Date.parse(o.from), to: o.to ? Date.parse(o.to) : end, over: Boolean(o.to)}));
  let begin = Math.max(past[0].t, Math.min(end - 60_000, ...outages.filter(o => o.to > end - 60_000).map(o => o.from - 5000)));
  begin = Math.min(begin, end - 15_000);
  const shown = past.filter(p => p.t >= begin), there = outages.filter(o => o.to > begin);
  const most = Math.max(...shown.map(p => p.w)), top = Math.max(20, most * 1.1);
  const x = t => width * (Math.max(t, begin) - begin) / (end - begin), y = w => height * (1 - w / top);
  const drawn = [svg('rect', {class: 'ground', x: 0, y: 0, width, height, rx: 6})];
  for (const o of there) {
    drawn.push(svg('rect', {class: 'down', x: x(o.from), y: 0, width: Math.max(1, x(o.to) - x(o.from)), height}));
    for (const t of o.over ? [o.from, o.to] : [o.from]) drawn.push(svg('line', {class: 'edge-of-down', x1: x(t), x2: x(t), y1: 0, y2: height}));
  }
  const line = shown.map(p => `${x(p.t).toFixed(1)},${y(p.w).toFixed(1)}`);
  drawn.push(svg('polygon', {class: 'area', points: `${x(shown[0].t)},${height} ${line.join(' ')} ${x(end)},${height}`}), svg('polyline', {class: 'line', points: line.join(' ')}));
  const apart = step(end - begin, width / 110, clockSteps);
  for (let t = Math.ceil(begin / apart) * apart; t <= end; t += apart) {
    drawn.push(svg('line', {class: 'mark', x1: x(t), x2: x(t), y1: height, y2: height + 6}));
    if (x(t) > 32 && x(t) < width - 32) drawn.push(label(clock(new Date(t)), x(t), height + 20, 'middle'));
  }
  const spans = step(top, 4, spanSteps);
  for (let w = spans; y(w) > 18; w += spans) { // as long as its label has room
    drawn.push(svg('line', {class: 'mark', x1: 0, x2: width, y1: y(w), y2: y(w)}), label(plural(w, 'span'), 6, y(w) - 4, 'start'));
  }
  $('timeline').replaceChildren(...drawn);
  const times = there.map(o => o.over ? `${clock(new Date(o.from))}–${clock(new Date(o.to))}` : `since ${clock(new Date(o.from))}`).join(', ');
  text($('timeline-text'), `Spans waiting on Kafka, at most ${count(most)}. ` + (there.length ? `Shaded: an outage of Jaeger, ${times}.` : 'No outage.'));
}

function label(words, x, y, anchor) {
  const element = svg('text', {x, y, 'text-anchor': anchor});
  element.textContent = words;
  return element;
}

// verdict shows what the demo's last count of the spans in Jaeger has found, and whether that is still all there is.
function verdict(s) {
  if (!$('count')) return;
  const v = s.demo && s.demo.verdict;
  $('count').hidden = !v;
  if (!v) return;
  const since = s.spans.written - v.on_topic, others = v.on_topic - v.spans;
  $('count').dataset.is = v.lost > 0 ? 'bad' : since > 0 ? 'before' : 'good';
  const all = v.lost > 0 ? `${count(v.lost)} of the ${plural(v.spans, 'span')}` : `all ${plural(v.spans, 'span')}`;
  const words = `${all} of ${plural(v.numbers, 'number')} ${v.lost > 0 ? 'are missing' : 'are there'}`;
  const more = others > 0 ? `, and ${plural(others, 'span')} of no number (of topic-config, the relay, an OpenTelemetry client)` : '';
  text($('count').querySelector('.state'), `${count(v.lost)} lost`);
  text($('count').querySelector('.muted'), `Counted in Jaeger at ${clock(new Date(v.at))}: ${words}${more}.` + (since > 0 ? ` ${plural(since, 'more span')} since.` : ''));
}

function numbers(s) {
  const reader = {'number-topic': 'stream', 'even-topic': 'sentence', 'sentence-topic': 'answer'};
  for (const node of document.querySelectorAll('#numbers-way .node')) {
    const topic = s.topics[node.dataset.topic], part = s.parts.find(p => p.name === reader[node.dataset.topic]);
    node.dataset.is = !topic ? 'bad' : topic.lag && !part.up ? 'warn' : 'good';
    text(node.querySelector('.state'), !s.kafka.up ? '✕ away' : !topic ? '✕ not there' : plural(topic.records, 'record') + (topic.lag ? `, ${count(topic.lag)} waiting` : ''));
    if (!part) continue;
    edge(document.querySelector(`#numbers-way [data-part=${part.name}]`), topic ? topic.done : 0, !part.up,
      part.up ? `${part.name} ${rate(topic ? topic.done : 0)}` : hidden(s, part) ? part.name : `${part.name} is away`);
  }
  const odd = s.topics['odd-topic'];
  text($('odd'), odd ? `and ${count(odd.records)} odd ones, on odd-topic` : '');
}

function answers(s) {
  $('no-answers').hidden = s.answers.length > 0;
  $('answers').replaceChildren(...s.answers.map(a => {
    const item = make('li');
    item.append(make('b', a.text));
    if (a.trace) {
      const link = make('a', s.jaeger.up ? 'trace in Jaeger' : 'spans on Kafka');
      link.href = s.jaeger.up ? `${ui}/trace/${a.trace}` : `/trace/${a.trace}`;
      link.setAttribute('aria-label', `${link.textContent}, of ${a.text}`);
      item.append(link);
    }
    return item;
  }));
}

function letters(s) {
  $('no-letters').hidden = s.letters.length > 0;
  $('letters').hidden = s.letters.length === 0;
  $('letters').tBodies[0].replaceChildren(...s.letters.map(l => {
    const row = make('tr');
    row.append(make('td', l.topic), make('td', l.from), make('td', l.reason));
    return row;
  }));
  const redrive = $('redrive');
  if (redrive) redrive.hidden = !s.letters.some(l => l.topic === 'tracing-dlq');
}

function demo(s) {
  if (!$('actions')) return;
  const there = Boolean(s.demo), busy = s.demo ? s.demo.busy : 'the demo has ended';
  for (const element of $('actions').querySelectorAll('button, select, input')) element.disabled = !there || Boolean(busy);
  if (busy) text($('answer'), `Not now: ${busy}.`);
  else if ($('answer').textContent.startsWith('Not now')) text($('answer'), 'Now you.');
  if (!there) return;
  const jaeger = s.demo.parts.find(p => p.name === 'jaeger').state;
  sensible($('stop'), jaeger !== 'stopped', 'Jaeger is stopped');
  sensible($('kill'), jaeger !== 'stopped', 'Jaeger is stopped');
  sensible($('start'), !jaeger.startsWith('runs'), 'Jaeger runs');
  flag($('stop'), 'data-main', jaeger.startsWith('runs'));
  flag($('start'), 'data-main', jaeger === 'stopped');
  const names = s.demo.parts.map(p => p.name).filter(name => name !== 'jaeger' && name !== 'console');
  if ($('part').options.length !== names.length) $('part').replaceChildren(...names.map(name => make('option', name)));
  text($('said'), s.demo.said.join('\n'));
}

// sensible tells of a button whether there is something to do for it now. The keyboard finds it anyway, and it then says why not.
function sensible(button, is, why) {
  if (is) button.removeAttribute('aria-disabled');
  else button.setAttribute('aria-disabled', 'true');
  button.dataset.why = why;
}

function show(s) {
  latest = s;
  text($('clock'), `as of ${clock(new Date(s.at))}`);
  past.push({t: Date.parse(s.at), w: s.spans.waiting});
  for (const part of [headline, way, figures, verdict, timeline, numbers, answers, letters, demo]) part(s);
}

// act has the demo do something.
async function act(path, button) {
  const name = button.textContent.trim();
  if (button.hasAttribute('aria-disabled')) {
    text($('answer'), `${name}: not now, ${button.dataset.why}.`);
    return;
  }
  text($('answer'), `${name} …`);
  try {
    const answer = await fetch(`/actions/${path}`, {method: 'POST', headers: {'X-Console-Token': meta('token')}});
    text($('answer'), answer.ok ? `${name}: ${path.startsWith('parts/') ? 'done' : 'begun; what comes of it is said below'}.` : `Not done: ${(await answer.text()).trim()}`);
  } catch {
    text($('answer'), 'Not done: this page has lost the console.');
  }
}

for (const button of document.querySelectorAll('[data-do]')) button.addEventListener('click', () => act(button.dataset.do, button));
if ($('actions')) {
  for (const button of $('actions').querySelectorAll('[data-act]'))
    button.addEventListener('click', () => act(`parts/${$('part').value}/${button.dataset.act}`, button));
  $('send').addEventListener('click', () => {
    if ($('how-many').reportValidity()) act(`numbers?count=${$('how-many').valueAsNumber}`, $('send'));
  });
}

addEventListener('resize', () => { if (latest) timeline(latest); });

const events = new EventSource('/events');
events.addEventListener('past', e => { past = JSON.parse(e.data); });
events.addEventListener('state', e => show(JSON.parse(e.data)));
events.addEventListener('error', () => text($('clock'), 'the console does not answer, trying again …'));
