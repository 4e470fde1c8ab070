// Command check says what is wrong with the alerts and the dashboard: a query that does not parse or names a metric that no service exports,
// and an alert that does not say where it is explained.
//
//	check ROOT
//
// ROOT is the root of the repository. The metrics are found in the source, as most show on /metrics only once there is something to count.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: check ROOT")
		os.Exit(2)
	}
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(root string) error {
	exported, err := exportedMetrics(filepath.Join(root, "services"))
	if err != nil {
		return err
	}
	return errors.Join(
		checkRules(filepath.Join(root, "deploy/prometheus/rules.yml"), filepath.Join(root, "docs/operations.md"), exported),
		checkDashboard(filepath.Join(root, "deploy/grafana/relay.json"), exported))
}

// metrics are those that the services export; the value tells whether it is a histogram.
type metrics map[string]bool

// exportedMetrics are what prometheus.NewDesc and the Opts of Prometheus' client name in the files below dir, and what the functions around
// them in the same file are given: each string in a file with such a call that looks like a name.
func exportedMetrics(dir string) (metrics, error) {
	found := metrics{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := goparser.ParseFile(token.NewFileSet(), path, nil, goparser.SkipObjectResolution)
		if err == nil {
			found.add(file)
		}
		return err
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s: no metrics found", dir)
	}
	return found, err
}

var name = regexp.MustCompile(`^[a-z]+(_[a-z]+)+$`)

func (m metrics) add(file *ast.File) {
	uses := false
	for _, i := range file.Imports {
		uses = uses || i.Path.Value == `"github.com/prometheus/client_golang/prometheus"`
	}
	if !uses {
		return
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && name.MatchString(text) {
				m[text] = m[text] || false
			}
		case *ast.CompositeLit:
			if s, ok := n.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "HistogramOpts" {
				for _, e := range n.Elts {
					if field, ok := e.(*ast.KeyValueExpr); ok && fmt.Sprint(field.Key) == "Name" {
						if value, ok := field.Value.(*ast.BasicLit); ok {
							text, _ := strconv.Unquote(value.Value)
							m[text] = true
						}
					}
				}
			}
		}
		return true
	})
}

// has tells whether Prometheus knows this name. It makes three of each histogram, and up by itself.
func (m metrics) has(series string) bool {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if m[strings.TrimSuffix(series, suffix)] && strings.HasSuffix(series, suffix) {
			return true
		}
	}
	histogram, there := m[series]
	return series == "up" || there && !histogram
}

// checkQuery parses a query and looks for each metric in it.
func checkQuery(query string, exported metrics) error {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	var errs []error
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if selector, ok := n.(*parser.VectorSelector); ok && !exported.has(selector.Name) {
			errs = append(errs, fmt.Errorf("%s: no service exports %s", query, selector.Name))
		}
		return nil
	})
	return errors.Join(errs...)
}

func checkRules(file, page string, exported metrics) error {
	groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.Default())
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	sections := anchors(string(text))
	for _, g := range groups.Groups {
		for _, rule := range g.Rules {
			if err := checkQuery(rule.Expr, exported); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", rule.Alert, err))
			}
			url := rule.Annotations["runbook_url"]
			if section, ok := strings.CutPrefix(url, "docs/operations.md#"); !ok || !sections[section] {
				errs = append(errs, fmt.Errorf("%s: runbook_url is %q, which is no section of docs/operations.md", rule.Alert, url))
			}
		}
	}
	return errors.Join(errs...)
}

var (
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	unnamed = regexp.MustCompile(`[^a-z0-9 -]`)
)

// anchors are the names that the headings of a page have in links.
func anchors(page string) map[string]bool {
	names := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		names[strings.ReplaceAll(unnamed.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-")] = true
	}
	return names
}

type panel struct {
	Title   string `json:"title"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

func checkDashboard(file string, exported metrics) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var dashboard struct {
		Panels []panel `json:"panels"`
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	queries := 0
	var errs []error
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries++
			// Grafana puts a duration in its place.
			if err := checkQuery(strings.ReplaceAll(target.Expr, "$__rate_interval", "1m"), exported); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p.Title, err))
			}
		}
	}
	if queries == 0 {
		errs = append(errs, fmt.Errorf("%s: no queries found", file))
	}
	return errors.Join(errs...)
}
