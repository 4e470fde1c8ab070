package main

import (
	"cmp"
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
	b.until("the flow is there", `text('#jaeger .state') === '● up' && document.querySelectorAll('#parts .good').length === 4`)
	b.until("it is the person's turn", `!document.querySelector('[data-do="parts/jaeger/stop"]').disabled`)
	b.until("everything is delivered", `text('#headline').includes('All is well') && number('#written') > 500 && number('#written') === number('#delivered')`)
	b.pictures("before")

	b.click(`[data-do="parts/jaeger/stop"]`)
	b.until("the outage is seen", `text('#headline').includes('Jaeger is down') && text('#jaeger .state') === '✕ down'`)
	b.fill("#count", "20")
	b.click("#send")
	b.until("the backlog grows", `number('#waiting') >= 110`)
	b.until("answers lead to Kafka", `text('#answers a') === 'spans on Kafka'`)
	b.until("the relay is holding", `text('#relay .state') === '■ holding'`)
	b.pictures("during")
	b.click("#answers a")
	b.until("the trace is shown from the topic", `document.querySelectorAll('.trace tbody tr').length === 9`)
	b.picture("trace", 1280, "light")
	b.visit(httpURL(ports.Console))
	b.until("the page is back", `text('#jaeger .state') === '✕ down'`)
	b.click(`[data-do="parts/jaeger/start"]`)
	b.until("it drains", `text('#headline').includes('All is well') && number('#waiting') === 0 && text('#jaeger .state') === '● up'`)
	b.click(`[data-do="verdict"]`)
	b.until("nothing is lost", `text('#said').includes('traces 120/120, spans 660/660, lost 0')`)
	b.pictures("after")

	b.fill("#part", "relay")
	b.click("#kill")
	b.until("the relay is started again", `text('#said').includes('relay runs again')`)
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
	b.jaeger(jaeger.NewQuery(httpURL(ports.JaegerQuery)), httpURL(ports.JaegerQuery))
	b.terminal(strings.NewReplacer(work+"/demo", ".demo", addr(ports.Kafka), addr(defaultPorts.Kafka),
		httpURL(ports.JaegerQuery), httpURL(defaultPorts.JaegerQuery)).Replace(out.read(t)))
	require.NoError(t, running.Process.Signal(os.Interrupt))
	assert.NoError(t, running.Wait())
}

// jaeger takes a trace of nine spans, and that of an outage, as Jaeger shows them.
func (b *browser) jaeger(query *jaeger.Query, ui string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(1280, 620))
	for name, spans := range map[string]struct {
		service string
		n       int
	}{"jaeger-number": {"answer", 9}, "jaeger-outage": {"relay", 1}} {
		traces, err := query.Traces(b.t.Context(), spans.service, 200)
		require.NoError(b.t, err)
		traces = slices.DeleteFunc(traces, func(t jaeger.Trace) bool { return len(t.Spans) != spans.n })
		require.NotEmpty(b.t, traces, name)
		b.visit(ui + "/trace/" + slices.MinFunc(traces, func(x, y jaeger.Trace) int { return cmp.Compare(took(x), took(y)) }).TraceID)
		b.until(name, fmt.Sprintf(`document.querySelectorAll('.span-row').length === %d`, spans.n))
		b.shoot(name)
	}
}

// took is how long a trace took, in microseconds.
func took(t jaeger.Trace) int64 {
	began, ended := t.Spans[0].StartMicros, int64(0)
	for _, s := range t.Spans {
		began, ended = min(began, s.StartMicros), max(ended, s.StartMicros+s.DurationMicros)
	}
	return ended - began
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

// pictures takes the page at two sizes and in both themes.
func (b *browser) pictures(name string) {
	b.t.Helper()
	for _, theme := range []string{"light", "dark"} {
		b.picture(name, 1600, theme)
		b.picture(name, 400, theme)
	}
}

// shoot writes a picture of what the window shows, if pictures are wanted.
func (b *browser) shoot(name string) {
	b.t.Helper()
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	_, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`scrollTo(0, 0), true`))
	require.NoError(b.t, err)
	content, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(filepath.Join(folder, name+".png"), content, 0o644))
}

// picture takes the page, and finds that nothing is wider than it.
func (b *browser) picture(name string, width int64, theme string) {
	b.t.Helper()
	b.prefer("prefers-color-scheme", theme)
	b.do(chromedp.EmulateViewport(width, 860))
	inside, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= innerWidth`))
	require.NoError(b.t, err)
	assert.True(b.t, inside, "%s at %d pixels is wider than the screen", name, width)
	b.shoot(fmt.Sprintf("%s-%d-%s", name, width, theme))
	b.do(chromedp.ResetViewport())
	b.prefer("prefers-color-scheme", "")
}
