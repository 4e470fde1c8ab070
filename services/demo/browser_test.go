package main

import (
	"context"
	"fmt"
	"html"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// What a person does with the control room, in a real browser: see the flow, cause an outage, watch it and end it, kill, poison,
// count; and all of that by keyboard. With SCREENSHOTS it leaves pictures in that folder.
func TestControlRoom(t *testing.T) {
	if os.Getenv("BROWSER_TEST") == "" {
		t.Skip("needs Chromium: make test-browser")
	}
	work, err := os.MkdirTemp("", "demo") // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(work) })
	ports := freePorts(t)
	running, out := startDemo(t, demoSettings{Work: work + "/demo", Ports: ports, Stay: true})
	eventually(t, "the console is there", func() bool { return strings.Contains(out.read(t), "are ready") })
	b := openBrowser(t)
	b.visit(httpURL(ports.Console))
	b.weigh()
	b.until("the flow is there", `text('#jaeger .state') === '● up' && document.querySelectorAll('#parts .good').length === 4`)
	b.until("it is the person's turn", `!document.querySelector('[data-do="parts/jaeger/stop"]').disabled`)
	b.until("everything is delivered", `text('#headline').includes('All is well') && number('#written') > 500 && number('#written') === number('#delivered')`)
	b.until("the story's outage is past", `past.length > 5 && past.slice(-5).every(p => !p.d)`)
	b.pictures("before", "#verdict-title")

	stopped := time.Now()
	b.click(`[data-do="parts/jaeger/stop"]`)
	b.until("the outage is seen", `text('#headline').includes('Jaeger is down') && text('#jaeger .state') === '✕ down'`)
	b.fill("#count", "20")
	b.click("#send")
	b.until("the backlog grows", `number('#waiting') >= 110`)
	b.until("answers lead to Kafka", `text('#answers a') === 'spans on Kafka'`)
	b.until("the relay is holding", `text('#relay .state') === '■ holding'`)
	b.pictures("during", "#verdict-title")
	b.click("#answers a")
	b.until("the trace is shown from the topic", `document.querySelectorAll('.trace tbody tr').length === 9`)
	b.picture("trace", "main", 1280, "light")
	b.visit(httpURL(ports.Console))
	b.until("the page is back", `text('#jaeger .state') === '✕ down'`)
	started := time.Now()
	b.click(`[data-do="parts/jaeger/start"]`)
	b.until("it drains", `text('#headline').includes('All is well') && number('#waiting') === 0 && text('#jaeger .state') === '● up'`)
	b.click(`[data-do="verdict"]`)
	b.until("nothing is lost", `text('#said').includes('traces 120/120, spans 660/660, lost 0')`)
	b.pictures("after", "#actions-title")

	b.fill("#part", "relay")
	b.click(`[data-act="kill"]`)
	b.until("the relay is started again", `text('#said').includes('relay runs again')`)
	b.fill("#part", "kafka")
	b.click(`[data-act="stop"]`)
	b.until("Kafka is away", `text('#tank .state') === '✕ Kafka is away' && text('#parts').includes('? stream')`)
	b.pictures("kafka", "#verdict-title")
	b.click(`[data-act="start"]`)
	b.until("Kafka is back, with the services", `text('#tank .state').startsWith('empty') && document.querySelectorAll('#parts .good').length === 4`)
	b.click(`[data-do="poison"]`)
	b.until("the poison is set aside", `text('#letters tbody td') === 'tracing-dlq' && text('#said').includes('the relay has set it aside')`)
	b.click("#redrive")
	b.until("it is sent again, and refused again", `text('#said').includes('redrive:')`)
	b.fill("#count", "0")
	b.click("#send")
	b.until("a number that cannot be is refused", `document.querySelector('#count').validity.rangeUnderflow`)

	b.press("Stop Jaeger", kb.Enter)
	b.until("the keyboard stops Jaeger", `text('#jaeger .state') === '✕ down'`)
	b.press("Start Jaeger", " ")
	b.until("and starts it", `text('#jaeger .state') === '● up'`)

	b.prefer("prefers-reduced-motion", "reduce")
	b.click(`[data-do="numbers?count=1000"]`)
	b.until("numbers flow", `document.querySelector('#edge-in').hasAttribute('data-flows')`)
	b.until("and nothing moves", `document.getAnimations().length === 0`)
	b.prefer("prefers-reduced-motion", "")
	b.until("but where it may", `document.getAnimations().length > 0`)

	assert.Empty(t, b.complaints())
	for _, visited := range b.hosts() {
		assert.Equal(t, fmt.Sprintf("localhost:%d", ports.Console), visited)
	}
	b.jaeger(jaeger.NewQuery(httpURL(ports.JaegerQuery)), httpURL(ports.JaegerQuery), stopped, started)
	b.terminal(strings.NewReplacer(work+"/demo", ".demo", addr(ports.Kafka), addr(defaultPorts.Kafka),
		httpURL(ports.JaegerQuery), httpURL(defaultPorts.JaegerQuery)).Replace(out.read(t)))
	require.NoError(t, running.Process.Signal(os.Interrupt))
	assert.NoError(t, running.Wait())
}

// jaeger takes a trace of nine spans that was written while Jaeger was away, and that of an outage, as Jaeger shows them.
func (b *browser) jaeger(query *jaeger.Query, ui string, from, to time.Time) {
	b.t.Helper()
	for name, spans := range map[string]struct {
		service string
		n       int
		height  int64
		open    bool
	}{"jaeger-number": {"answer", 9, 510, false}, "jaeger-outage": {"relay", 1, 650, true}} {
		traces, err := query.Traces(b.t.Context(), spans.service, 1000)
		require.NoError(b.t, err)
		at := slices.IndexFunc(traces, func(t jaeger.Trace) bool {
			began := time.UnixMicro(int64(t.Spans[0].StartMicros))
			return len(t.Spans) == spans.n && began.After(from) && began.Before(to)
		})
		require.GreaterOrEqual(b.t, at, 0, name)
		b.do(chromedp.EmulateViewport(1280, spans.height))
		b.visit(ui + "/trace/" + traces[at].TraceID)
		b.until(name, fmt.Sprintf(`document.querySelectorAll('.span-row').length === %d`, spans.n))
		if spans.open {
			b.run(`document.querySelector('.span-row .span-view').click(), true`)
			b.until("the span is open", `document.querySelector('.detail-row')`)
			b.run(`document.querySelector('.detail-row .AccordianKeyValues--header').click(), true`)
		}
		b.shoot(name)
	}
}

// terminal takes what the demo printed before its reader's turn.
func (b *browser) terminal(text string) {
	b.t.Helper()
	text, _, _ = strings.Cut(text, "6  Now you")
	lines := "$ make demo\n" + strings.TrimSpace(text)
	b.do(chromedp.EmulateViewport(1000, int64(20*strings.Count(lines, "\n")+60)))
	b.visit("data:text/html;charset=utf-8," + url.PathEscape(`<body style="margin:0;padding:18px;background:#0f141a;color:#e6ebf1;font:14px/20px monospace"><pre style="margin:0">`+
		html.EscapeString(lines)))
	b.shoot("terminal")
}

// browser is a page in Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	errors   []string
	requests map[string]bool // hosts
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, requests: map[string]bool{}}
	require.NoError(t, chromedp.Listen(ctx, b.heard))
	return b
}

func (b *browser) heard(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, e.ExceptionDetails.Text+" "+e.ExceptionDetails.URL)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if at, err := url.Parse(e.Request.URL); err == nil && at.Host != "" {
			b.requests[at.Host] = true
		}
	}
}

func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.errors
}

func (b *browser) hosts() (hosts []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for host := range b.requests {
		hosts = append(hosts, host)
	}
	return hosts
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, steps...))
}

func (b *browser) visit(address string) {
	b.t.Helper()
	b.do(chromedp.Navigate(address))
}

func (b *browser) click(selector chromedp.CSS) {
	b.t.Helper()
	b.do(chromedp.WaitEnabled(selector), chromedp.Click(selector))
}

func (b *browser) fill(selector chromedp.CSS, value string) {
	b.t.Helper()
	b.do(chromedp.SetValue(selector, value))
}

// weigh checks that the page is small, and tells how soon it was seen.
func (b *browser) weigh() {
	b.t.Helper()
	b.until("something is painted", `performance.getEntriesByName('first-contentful-paint').length > 0`)
	const all = `[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]`
	bytes, err := chromedp.Run(b.ctx, chromedp.Evaluate[float64](all+`.reduce((sum, e) => sum + e.transferSize, 0)`))
	require.NoError(b.t, err)
	painted, err := chromedp.Run(b.ctx, chromedp.Evaluate[float64](`performance.getEntriesByName('first-contentful-paint')[0].startTime`))
	require.NoError(b.t, err)
	b.t.Logf("%.0f bytes, painted after %.0f ms", bytes, painted)
	assert.Greater(b.t, bytes, 10_000.0)
	assert.Less(b.t, bytes, 150_000.0)
}

// until waits until an expression of JavaScript is true.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	const words = `const text = s => document.querySelector(s)?.textContent ?? '';
		const number = s => Number(text(s).replaceAll(',', ''));`
	eventually(b.t, what, func() bool {
		yes, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("(() => { "+words+" return Boolean("+expression+"); })()"))
		return err == nil && yes
	})
}

// press goes to a button with the tabulator key, and presses a key there.
func (b *browser) press(button, key string) {
	b.t.Helper()
	for range 50 {
		b.do(chromedp.KeyEvent(kb.Tab))
		at, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.activeElement.textContent`))
		require.NoError(b.t, err)
		if at == button {
			b.do(chromedp.KeyEvent(key))
			return
		}
	}
	b.t.Fatalf("the tabulator key does not lead to %q", button)
}

// prefer has the browser tell the page of one wish of its user; none: an empty value.
func (b *browser) prefer(name, value string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: name, Value: value}}})
	require.NoError(b.t, err)
}

// pictures takes the page as far as a card, as it is now, at two sizes and in both themes.
func (b *browser) pictures(name, card string) {
	b.t.Helper()
	b.run("window.shown = show, show = () => {}, true")
	for _, theme := range []string{"light", "dark"} {
		b.picture(name, card, 1600, theme)
		b.picture(name, card, 400, theme)
	}
	b.run("show = window.shown, true")
}

// run has the page run a script that ends with true.
func (b *browser) run(script string) {
	b.t.Helper()
	done, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](script))
	require.NoError(b.t, err)
	require.True(b.t, done)
}

// shoot writes a picture of what the window shows, if pictures are wanted.
func (b *browser) shoot(name string) {
	b.t.Helper()
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	b.run(`scrollTo(0, 0), true`)
	content, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(filepath.Join(folder, name+".png"), content, 0o644))
}

// picture takes the page as far as a card, and finds that nothing is wider than it.
func (b *browser) picture(name, card string, width int64, theme string) {
	b.t.Helper()
	b.prefer("prefers-color-scheme", theme)
	b.do(chromedp.EmulateViewport(width, 860))
	height, err := chromedp.Run(b.ctx, chromedp.Evaluate[float64](fmt.Sprintf(
		`(e => (e.closest('section') ?? e).getBoundingClientRect().bottom + scrollY + 14)(document.querySelector('%s'))`, card)))
	require.NoError(b.t, err)
	b.do(chromedp.EmulateViewport(width, int64(height)))
	inside, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= innerWidth`))
	require.NoError(b.t, err)
	assert.True(b.t, inside, "%s at %d pixels is wider than the screen", name, width)
	b.shoot(fmt.Sprintf("%s-%d-%s", name, width, theme))
	b.do(chromedp.ResetViewport())
	b.prefer("prefers-color-scheme", "")
}
