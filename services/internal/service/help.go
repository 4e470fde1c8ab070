package service

import (
	"cmp"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpOf returns the function that prints the --help of a command whose settings are the struct that cfg points to; nil: it has
// none.
func helpOf(cfg any) func(*cobra.Command, []string) {
	return func(cmd *cobra.Command, _ []string) {
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "%s\n\n", strings.TrimSpace(cmp.Or(cmd.Long, cmd.Short)))
		writeUsage(w, cmd)
		writeTable(w, func(row func(...string)) {
			cmd.Flags().VisitAll(func(f *pflag.Flag) { row(flagName(f), flagMeaning(f)) })
		})
		if cmd.HasSubCommands() {
			fmt.Fprintf(w, "\nCommands, each with a --help of its own:\n\n")
			writeTable(w, func(row func(...string)) {
				for _, c := range leaves(cmd) {
					row(c.CommandPath(), c.Short)
				}
			})
		}
		if cmd.HasExample() {
			fmt.Fprintf(w, "\nExample:\n\n  %s\n", strings.ReplaceAll(strings.TrimSpace(cmd.Example), "\n", "\n  "))
		}
		if cfg != nil && reflect.TypeOf(cfg).Elem().NumField() > 0 {
			fmt.Fprint(w, "\nSettings, from the environment:\n\n")
			writeTable(w, func(row func(...string)) { settingRows(cfg, row) })
		}
	}
}

func writeUsage(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "Usage: %s\n", cmd.UseLine())
	if cmd.HasSubCommands() && !cmd.HasParent() {
		fmt.Fprintf(w, "       %s COMMAND\n", cmd.Name())
	}
	fmt.Fprintln(w)
}

// leaves returns the commands below cmd that do something.
func leaves(cmd *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, c := range cmd.Commands() {
		switch {
		case c.Hidden:
		case c.HasSubCommands():
			if _, holds := c.Annotations[holdsOnly]; !holds {
				all = append(all, c)
			}
			all = append(all, leaves(c)...)
		default:
			all = append(all, c)
		}
	}
	return all
}

func flagName(f *pflag.Flag) string {
	kind, _ := pflag.UnquoteUsage(f)
	return strings.TrimSpace("--" + f.Name + " " + kind)
}

func flagMeaning(f *pflag.Flag) string {
	_, meaning := pflag.UnquoteUsage(f)
	switch f.DefValue {
	case "", "false", "0", "0s":
		return meaning
	}
	return meaning + "; default " + f.DefValue
}

// writeTable prints rows in columns.
func writeTable(w io.Writer, rows func(row func(columns ...string))) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows(func(columns ...string) { fmt.Fprintf(table, "  %s\n", strings.Join(columns, "\t")) })
	_ = table.Flush()
}

func settingRows(cfg any, row func(columns ...string)) {
	row("VARIABLE", "DEFAULT", "MEANING")
	seen := map[string]bool{}
	walk(reflect.ValueOf(cfg).Elem(), "", "", nil, func(s setting) {
		if !seen[s.name] {
			row(s.name, s.shownDefault(), s.meaning())
		}
		seen[s.name] = true
	}, func(string, Checker) {})
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
