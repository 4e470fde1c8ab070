package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"time"

	"github.com/prometheus/procfs"
)

// machine says in one line what is measured on which machine.
func machine(root, jars string) string {
	return fmt.Sprintf("%d cores (%s), %s, Apache Kafka %s, Jaeger %s, load before %s",
		runtime.NumCPU(), processor(), runtime.Version(), kafkaVersion(jars), jaegerVersion(root), load())
}

// processor is the model, as far as the system tells.
func processor() string {
	if fs, err := procfs.NewDefaultFS(); err == nil {
		if cpus, err := fs.CPUInfo(); err == nil && len(cpus) > 0 {
			return cpus[0].ModelName
		}
	}
	return runtime.GOARCH
}

var gitVersion = regexp.MustCompile(`"gitVersion":"([^"]+)"`)

func jaegerVersion(root string) string {
	out, err := exec.Command(filepath.Join(root, "bin", "jaeger"), "version").Output()
	if m := gitVersion.FindSubmatch(out); err == nil && m != nil {
		return string(m[1])
	}
	return "unknown"
}

// load is the average of the last minute: what was running before, and might
// still run.
func load() string {
	if fs, err := procfs.NewDefaultFS(); err == nil {
		if avg, err := fs.LoadAvg(); err == nil {
			return fmt.Sprintf("%.1f", avg.Load1)
		}
	}
	return "unknown"
}

// busy is the time that all cores together were not idle since the system
// started; 0 where there is no /proc.
func busy() time.Duration {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0
	}
	c := stat.CPUTotal
	return time.Duration((c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal) * float64(time.Second))
}
