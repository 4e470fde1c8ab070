package main

import (
	"fmt"
	"log/slog"
	"strings"
)

// logger takes the log lines of goka and of sarama, which have no levels, at
// debug: what matters of them comes back as the error of the processor.
type logger struct{ log *slog.Logger }

func (l logger) Print(v ...any)                 { l.write(fmt.Sprint(v...)) }
func (l logger) Println(v ...any)               { l.write(fmt.Sprintln(v...)) }
func (l logger) Printf(format string, v ...any) { l.write(fmt.Sprintf(format, v...)) }

func (l logger) write(line string) { l.log.Debug(oneLine(line)) }

// oneLine joins the lines of a text; goka's lists of errors have several.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
