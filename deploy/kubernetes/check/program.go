package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// program is what --help tells of the settings of a program.
type program struct {
	settings []setting
	known    map[string]bool // every variable that it reads
}

type setting struct {
	name     string
	fallback string // variable that is read when name is not set; "" for none
	value    string // default; "" for none
}

var (
	helpLine    = regexp.MustCompile(`^  ([A-Z][A-Z0-9_]*)  +(.*?)  +(.*)$`)
	helpDefault = regexp.MustCompile(`^(?:\$([A-Z0-9_]+))?(?: or )?(.*)$`)
)

// programs are those in the folder bin, each asked once.
type programs struct {
	bin   string
	asked map[string]program
}

// of returns the program in the container's image: the one with that name.
func (p *programs) of(image string) (program, error) {
	name, _, _ := strings.Cut(filepath.Base(image), ":")
	if known, ok := p.asked[name]; ok {
		return known, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	help, err := exec.CommandContext(ctx, filepath.Join(p.bin, name), "--help").Output()
	if err != nil {
		return program{}, fmt.Errorf("the settings of image %s cannot be known: %w", image, err)
	}
	found := parseHelp(string(help))
	if len(found.settings) == 0 {
		return program{}, fmt.Errorf("the settings of image %s cannot be known: %s --help lists none", image, name)
	}
	p.asked[name] = found
	return found, nil
}

func parseHelp(help string) program {
	p := program{known: map[string]bool{}}
	_, table, _ := strings.Cut(help, "\n  VARIABLE ")
	for line := range strings.Lines(table) {
		column := helpLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if column == nil {
			continue
		}
		value := helpDefault.FindStringSubmatch(strings.TrimPrefix(column[2], "-"))
		s := setting{name: column[1], fallback: value[1], value: value[2]}
		p.settings = append(p.settings, s)
		for _, name := range []string{s.name, s.fallback} {
			p.known[name] = true
			if strings.HasSuffix(column[3], ", in "+s.name+"_FILE") {
				p.known[name+"_FILE"] = true
			}
		}
	}
	return p
}

// value returns what the program takes for a setting in an environment.
func (p program) value(name string, env map[string]string) string {
	for _, s := range p.settings {
		if s.name == name {
			for _, v := range []string{env[s.name], env[s.fallback], s.value} {
				if v != "" {
					return v
				}
			}
		}
	}
	return ""
}
