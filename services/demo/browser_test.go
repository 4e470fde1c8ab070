package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/png"
	"io"
	"maps"
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
	"github.com/dustin/go-humanize"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// What a person does with the control room, in a real browser: see the flow, cause an outage, watch it and end it, kill, poison,
// count; and all of that by keyboard. With SCREENSHOTS it leaves pictures in that folder: then it takes the ports that README names,
// and the outage lasts longer.
func TestControlRoom(t *testing.T) {
	if os.Getenv("BROWSER_TEST") == "" {
		t.Skip("needs Chromium: make test-browser")
	}
	work, err := os.MkdirTemp("", "demo") // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(work) })
	ports, numbers, before, held := freePorts(t), 100, 150, 110
	pictures := os.Getenv("SCREENSHOTS") != ""
	if pictures {
		ports, numbers, before, held = defaultPorts, 1000, 300, 3000
		require.NoError(t, ports.checkFree())
	}
	running, out := startDemo(t, demoSettings{Work: work + "/demo", Ports: ports, Stay: true, Colours: pictures})
	eventually(t, "the console is there", func() bool { return strings.Contains(out.read(t), "are ready") })
	b := openBrowser(t)
	b.visit(httpURL(ports.Console))
	b.weigh()
	b.until("the flow is there", `text('#jaeger .state') === '● up' && document.querySelectorAll('#parts .good').length === 4`)
	b.until("it is the person's turn", `!document.querySelector('[data-do="parts/jaeger/stop"]').disabled`)
	b.until("everything is delivered", `text('#headline').includes('All is well') && number('#written') > 500 && number('#written') === number('#delivered')`)
	if pictures {
		b.until("the story's outage will have left the time line", `latest.outages.every(o => Date.parse(latest.at) - Date.parse(o.to) > 32_000)`)
	}
	a, err := attach(t.Context(), &demo{work: work + "/demo", screen: &screen{out: io.Discard}})
	require.NoError(t, err)
	sent := make(chan error, 1)
	go func() { sent <- a.sendMany(t.Context(), numbers, 25) }()
	b.until("numbers flow", fmt.Sprintf(`latest.topics['number-topic'].records >= %d`, before))

	b.click(`[data-do="parts/jaeger/stop"]`)
	b.until("the outage is seen", `text('#headline').includes('Jaeger is down') && text('#jaeger .state') === '✕ down'`)
	b.until("what can be done is to start it", `text('button[data-main]') === 'Start Jaeger'`)
	b.click(`[data-do="parts/jaeger/stop"]`)
	b.until("and not to stop it", `text('#answer') === 'Stop Jaeger: not now, Jaeger is stopped.'`)
	b.until("the backlog grows", fmt.Sprintf(`number('#waiting') >= %d && (%d < 1000 || document.querySelectorAll('#numbers-way [data-flows], #edge-in[data-flows]').length === 4)`,
		held, numbers))
	b.until("the relay is holding", `text('#relay .state') === '■ holding'`)
	b.pictures("during", "#verdict-title")
	require.NoError(t, <-sent)
	b.until("their spans are on Kafka", fmt.Sprintf(`latest.spans.written >= latest.demo.verdict.on_topic + %d`, numbers*11/2))
	b.until("answers lead to Kafka", `text('#answers a') === 'spans on Kafka'`)
	b.click("#answers a")
	b.until("the trace is shown from the topic", `document.querySelectorAll('.trace tbody tr').length === 9`)
	b.picture("", "main", 1280, "light")
	b.visit(httpURL(ports.Console))
	b.until("the page is back", `text('#jaeger .state') === '✕ down'`)
	b.click(`[data-do="parts/jaeger/start"]:not([aria-disabled])`)
	b.until("what can be done is to stop it", `text('button[data-main]') === 'Stop Jaeger'`)
	query := jaeger.NewQuery(httpURL(ports.JaegerQuery))
	defer query.Close()
	eventually(t, "the relay's trace of each outage is there", func() bool {
		traces, err := query.Traces(t.Context(), "relay", 10)
		return err == nil && len(traces) == 2
	})
	b.until("it drains", `text('#headline').includes('All is well') && number('#waiting') === 0 && text('#jaeger .state') === '● up'`)
	b.click(`[data-do="verdict"]`)
	all := 100 + numbers
	b.until("nothing is lost", fmt.Sprintf(`text('#said').includes('traces %d/%d, spans %d/%d, lost 0')`, all, all, all*11/2, all*11/2))
	b.until("and the page says so", fmt.Sprintf(`document.querySelector('#count').dataset.is === 'good' && text('#count').includes('all %s spans of %s numbers are there, and ')`,
		humanize.Comma(int64(all*11/2)), humanize.Comma(int64(all))))
	b.until("nothing flows any more", `document.querySelectorAll('[data-flows]').length === 0`)
	b.pictures("after", "#actions-title")
	outage := b.outage()

	b.fill("#part", "relay")
	b.click(`[data-act="kill"]`)
	b.until("the relay is started again", `text('#said').includes('relay runs again')`)
	b.fill("#part", "kafka")
	b.click(`[data-act="stop"]`)
	b.until("Kafka is away", `text('#tank .state') === '✕ Kafka is away' && text('#parts').includes('? stream')`)
	b.picture("", "#verdict-title", 400, "light")
	b.click(`[data-act="start"]`)
	b.until("Kafka is back, with the services", `text('#tank .state') === 'nothing waits' && document.querySelectorAll('#parts .good').length === 4`)
	b.click(`[data-do="poison"]`)
	b.until("the poison is set aside", `text('#letters tbody td') === 'tracing-dlq' && text('#said').includes('the relay has set it aside')`)
	b.click("#redrive")
	b.until("it is sent again, and refused again", `text('#said').includes('redrive:')`)
	b.fill("#how-many", "0")
	b.click("#send")
	b.until("a number that cannot be is refused", `document.querySelector('#how-many').validity.rangeUnderflow`)
	b.fill("#how-many", "3")
	b.click("#send")
	b.until("others are sent", fmt.Sprintf(`text('#said').includes('3 numbers, %d … %d, are sent')`, all+2, all+4)) // one went behind the poison
	b.until("and are more than were counted", `document.querySelector('#count').dataset.is === 'before'`)

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
	b.jaeger(query, httpURL(ports.JaegerQuery), outage)
	b.terminal(strings.NewReplacer(work+"/demo", ".demo", addr(ports.Kafka), addr(defaultPorts.Kafka),
		httpURL(ports.JaegerQuery), httpURL(defaultPorts.JaegerQuery)).Replace(out.read(t)))
	require.NoError(t, running.Process.Signal(os.Interrupt))
	assert.NoError(t, running.Wait())
}

// outage returns when the last outage that the page knows began and ended.
func (b *browser) outage() (times [2]time.Time) {
	b.t.Helper()
	for i, end := range []string{"from", "to"} {
		text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`latest.outages.at(-1).`+end))
		require.NoError(b.t, err)
		times[i], err = time.Parse(time.RFC3339Nano, text)
		require.NoError(b.t, err)
	}
	return times
}

// jaeger takes the relay's trace of an outage, and the last one of nine spans that was written in it, as Jaeger shows them.
func (b *browser) jaeger(query *jaeger.Query, ui string, outage [2]time.Time) {
	b.t.Helper()
	for _, wanted := range []struct {
		name, service string
		spans         int
		column        float64 // the share of the names
	}{
		{"jaeger-number", "answer", 9, 0.42},
		{"jaeger-outage", "relay", 1, 0.25},
	} {
		traces, err := query.Traces(b.t.Context(), wanted.service, 10_000)
		require.NoError(b.t, err)
		began := func(t jaeger.Trace) time.Time { return time.UnixMicro(int64(t.Spans[0].StartMicros)) }
		traces = slices.DeleteFunc(traces, func(t jaeger.Trace) bool {
			return len(t.Spans) != wanted.spans || began(t).Before(outage[0].Add(-time.Second)) || began(t).After(outage[1])
		})
		require.NotEmpty(b.t, traces, wanted.name)
		shown := slices.MaxFunc(traces, func(a, b jaeger.Trace) int { return began(a).Compare(began(b)) })
		if wanted.spans == 1 { // the page and Jaeger tell of the same outage
			took := time.Duration(shown.Spans[0].DurationMicros) * time.Microsecond
			b.t.Logf("the outage: %s to %s; in Jaeger %s to %s", outage[0], outage[1], began(shown), began(shown).Add(took))
			assert.WithinDuration(b.t, outage[0], began(shown), time.Second)
			assert.WithinDuration(b.t, outage[1], began(shown).Add(took), time.Second)
		}
		b.do(chromedp.EmulateViewport(960, 700, chromedp.EmulateScale(2)))
		b.visit(ui + "/trace/" + shown.TraceID)
		b.until(wanted.name, fmt.Sprintf(`document.querySelectorAll('.span-row').length === %d`, wanted.spans))
		b.drag(".VerticalResizer--dragger", 960*wanted.column)
		last := ".span-row:last-child"
		if wanted.spans == 1 {
			b.run(`document.querySelector('.span-row .span-view').click(), true`)
			b.until("the span is open", `document.querySelector('.detail-row')`)
			b.run(`document.querySelector('.detail-row .AccordianKeyValues--header').click(), true`)
			last = ".detail-row .KeyValueTable"
		}
		b.until("it is drawn", fmt.Sprintf(`document.querySelector('%s')`, last))
		b.fit(fmt.Sprintf(`Math.max(...[...document.querySelectorAll('%s')].map(e => e.getBoundingClientRect().bottom))`, strings.TrimSuffix(last, ":last-child")), 960, 2)
		b.shoot(wanted.name)
	}
}

// drag moves something to the right or left, with the mouse.
func (b *browser) drag(selector string, to float64) {
	b.t.Helper()
	at, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]float64](fmt.Sprintf(
		`(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector('%s').getBoundingClientRect())`, selector)))
	require.NoError(b.t, err)
	b.do(chromedp.MouseEvent(chromedp.MousePressed, at[0], at[1], chromedp.ButtonLeft),
		chromedp.MouseEvent(chromedp.MouseMoved, to, at[1], chromedp.ButtonLeft),
		chromedp.MouseEvent(chromedp.MouseReleased, to, at[1], chromedp.ButtonLeft))
}

// fit makes the window as high as an expression of JavaScript says.
func (b *browser) fit(height string, width int64, scale float64) {
	b.t.Helper()
	pixels, err := chromedp.Run(b.ctx, chromedp.Evaluate[float64](height))
	require.NoError(b.t, err)
	b.do(chromedp.EmulateViewport(width, int64(pixels), chromedp.EmulateScale(scale)))
}

// terminal takes what the demo printed before its reader's turn, and leaves it as a text beside the picture.
func (b *browser) terminal(text string) {
	b.t.Helper()
	text = text[:strings.LastIndex(text[:strings.Index(text, "6  Now you")], "\n")]
	text = "$ make demo\n" + strings.TrimSpace(text) + "\n"
	b.do(chromedp.EmulateViewport(800, int64(20*strings.Count(text, "\n")+36), chromedp.EmulateScale(2)))
	b.visit("data:text/html;charset=utf-8," + url.PathEscape(`<style>body{margin:0;padding:18px;background:#0f141a;color:#e6ebf1;font:14px/20px monospace}pre{margin:0}
		.s1{font-weight:bold}.s2{opacity:.65}.s31{color:#ff938a}.s32{color:#6ad698}.s36{color:#58c4e8}</style><pre>`+painted(text)))
	b.shoot("terminal")
	if folder := os.Getenv("SCREENSHOTS"); folder != "" {
		require.NoError(b.t, os.WriteFile(filepath.Join(folder, "terminal.txt"), []byte(colours.ReplaceAllString(text, "")), 0o644))
	}
}

// painted is a text with the colours of a terminal, in HTML.
func painted(text string) string {
	open := 0
	return colours.ReplaceAllStringFunc(html.EscapeString(text), func(code string) string {
		switch code = strings.Trim(code, "\x1b[m"); code {
		case "1", "2", "31", "32", "36":
			open++
			return `<span class="s` + code + `">`
		}
		if open == 0 {
			return ""
		}
		open--
		return "</span>"
	})
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
			b.until("it does something", `!document.activeElement.hasAttribute('aria-disabled')`)
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
		b.picture(name+"-"+theme, card, 960, theme)
		b.picture("", card, 400, theme)
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
	whole, err := png.Decode(bytes.NewReader(content))
	require.NoError(b.t, err)
	file, err := os.Create(filepath.Join(folder, name+".png"))
	require.NoError(b.t, err)
	defer file.Close()
	require.NoError(b.t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(file, indexed(whole)))
}

// indexed returns a picture with a palette of its 256 most frequent colours, which makes a page's file a third as large.
func indexed(whole image.Image) *image.Paletted {
	count := map[color.RGBA]int{}
	area := whole.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(whole.At(x, y)).(color.RGBA) }
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	frequent := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int { return cmp.Compare(count[b], count[a]) })
	var palette color.Palette
	for _, c := range frequent[:min(len(frequent), 256)] {
		palette = append(palette, c)
	}
	index := map[color.RGBA]uint8{}
	for c := range count {
		index[c] = uint8(palette.Index(c))
	}
	picture := image.NewPaletted(area, palette)
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			picture.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	return picture
}

// picture takes the page as far as a card, and finds that nothing is wider than it. Without a name it only looks.
func (b *browser) picture(name, card string, width int64, theme string) {
	b.t.Helper()
	b.prefer("prefers-color-scheme", theme)
	b.do(chromedp.EmulateViewport(width, 860, chromedp.EmulateScale(2)))
	b.fit(fmt.Sprintf(`(e => (e.closest('section') ?? e).getBoundingClientRect().bottom + scrollY + 14)(document.querySelector('%s'))`, card), width, 2)
	b.until("the time line is as wide as the page", `Number(document.querySelector('#timeline .ground')?.getAttribute('width') ?? 0) === (document.querySelector('#timeline')?.clientWidth ?? 0)`)
	inside, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= innerWidth`))
	require.NoError(b.t, err)
	assert.True(b.t, inside, "%s at %d pixels is wider than the screen", card, width)
	if name != "" {
		b.shoot(name)
	}
	b.do(chromedp.ResetViewport())
	b.prefer("prefers-color-scheme", "")
}
