package main

import (
	goparser "go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestQueries(t *testing.T) {
	exported := metrics{"relay_spans_total": false, "relay_post_duration_seconds": true}
	for query, want := range map[string]string{
		`sum by (instance) (rate(relay_spans_total{service="relay"}[5m]))`: "",
		`up{service="relay"} == 0`:                        "",
		`rate(relay_post_duration_seconds_bucket[1m])`:    "",
		`relay_post_duration_seconds`:                     "no service exports relay_post_duration_seconds",
		`relay_spans_total_count`:                         "no service exports relay_spans_total_count",
		`relay_spans_total > relay_span_total offset 15m`: "no service exports relay_span_total",
		`sum(relay_spans_total`:                           "unclosed",
	} {
		found := ""
		if err := checkQuery(query, exported); err != nil {
			found = err.Error()
		}
		if want == "" && found != "" || !strings.Contains(found, want) {
			t.Errorf("%s: found %q, want %q", query, found, want)
		}
	}
}

func TestMetricsAreFoundInTheSource(t *testing.T) {
	file, err := goparser.ParseFile(token.NewFileSet(), "", `package x
import "github.com/prometheus/client_golang/prometheus"
var (
	a = prometheus.NewDesc("a_gauge", "Its help_text is no name.", nil, nil)
	b = total("b_total", "")
	c = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "c_seconds", Help: ""})
)`, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := metrics{}
	found.add(file)
	for series, want := range map[string]bool{"a_gauge": true, "b_total": true, "c_seconds_sum": true, "c_seconds": false, "a_gauge_sum": false, "help_text": false} {
		if found.has(series) != want {
			t.Errorf("%s: found %t, want %t", series, !want, want)
		}
	}
}

func TestAlertsSayWhereTheyAreExplained(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	page := write("operations.md", "# Operations\n\n## When it's down\n")
	for url, want := range map[string]string{
		"docs/operations.md#when-its-down": "",
		"docs/operations.md#when-it-is-up": "no section",
		"when-its-down":                    "no section",
		"":                                 "no section",
	} {
		rules := write("rules.yml", "groups: [{name: a, rules: [{alert: Down, expr: up == 0, annotations: {runbook_url: '"+url+"'}}]}]")
		found := ""
		if err := checkRules(rules, page, metrics{}); err != nil {
			found = err.Error()
		}
		if want == "" && found != "" || !strings.Contains(found, want) {
			t.Errorf("%s: found %q, want %q", url, found, want)
		}
	}
}
