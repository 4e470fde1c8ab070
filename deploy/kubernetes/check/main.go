// Command check builds a kustomization and tells what is wrong with it:
//
//	check KUSTOMIZATION BIN
//
// It knows what a cluster would refuse (fields that do not exist, references to
// nothing) and what it would run all the same: settings that a program does not
// have, by its --help in the folder BIN; probes, ports and grace periods that do
// not fit it; pods with more rights than they need. It asks no cluster, so what
// only the API server's validation knows it does not see.
package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(stderr, "usage: check KUSTOMIZATION BIN")
		return 2
	}
	m, findings, err := check(filesys.MakeFsOnDisk(), args[0], &programs{bin: args[1], asked: map[string]program{}})
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	for _, f := range findings {
		fmt.Fprintln(stderr, f)
	}
	if len(findings) > 0 {
		return 1
	}
	fmt.Fprintf(stdout, "%s: %d objects, %d of them with pods, nothing wrong\n", args[0], m.objects, len(m.workloads))
	return 0
}

// check builds the kustomization in dir and returns what is in it and what is
// wrong with it. Its error says why it cannot be built or read at all.
func check(fs filesys.FileSystem, dir string, all *programs) (*manifest, []string, error) {
	m, err := build(fs, dir)
	if err != nil {
		return nil, nil, err
	}
	r := &report{}
	for _, w := range m.workloads {
		r.where = w.id
		m.checkWorkload(r, w, all)
	}
	for _, s := range m.services {
		r.where = "Service " + s.Name
		m.checkService(r, s)
	}
	for _, p := range m.policies {
		r.where = "NetworkPolicy " + p.Name
		m.checkPolicy(r, p)
	}
	for _, p := range m.monitors {
		r.where = "PodMonitor " + p.Name
		m.checkMonitor(r, p)
	}
	for _, s := range m.scalers {
		r.where = "ScaledObject " + s.Name
		m.checkScaler(r, s, all)
	}
	m.checkUse(r)
	slices.Sort(r.findings)
	return m, r.findings, nil
}

// report collects findings about one object after the other.
type report struct {
	where    string
	findings []string
}

func (r *report) add(format string, args ...any) {
	r.findings = append(r.findings, r.where+": "+fmt.Sprintf(format, args...))
}
