package service

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// writeHelp prints what the program does and the settings of the struct that cfg points to, as a table.
func writeHelp(w io.Writer, name, doc string, cfg any) {
	fmt.Fprintf(w, "%s\n\nUsage: %s [flag]\n\n", strings.TrimSpace(doc), name)
	fmt.Fprint(w, "  --help         this text\n  --version      version of the program\n  --healthcheck  exit 0 if the running program is well, 1 if not\n\n")
	fmt.Fprint(w, "Settings, from the environment:\n\n")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "  VARIABLE\tDEFAULT\tMEANING\n")
	seen := map[string]bool{}
	walk(reflect.ValueOf(cfg).Elem(), "", "", nil, func(s setting) {
		if !seen[s.name] {
			fmt.Fprintf(table, "  %s\t%s\t%s\n", s.name, s.shownDefault(), s.meaning())
		}
		seen[s.name] = true
	}, func(string, Checker) {})
	_ = table.Flush()
}

func (s setting) shownDefault() string {
	d := s.field.Tag.Get("envDefault")
	switch {
	case s.source != s.name && d != "":
		return "$" + s.source + " or " + d
	case s.source != s.name:
		return "$" + s.source
	case d == "":
		return "-"
	}
	return d
}

func (s setting) meaning() string {
	meaning := s.field.Tag.Get("help")
	if oneof := s.field.Tag.Get("oneof"); oneof != "" {
		meaning += ": " + strings.ReplaceAll(oneof, ",", ", ")
	}
	if s.secret() {
		meaning += "; or the name of a file that contains it, in " + s.name + "_FILE"
	}
	return meaning
}
