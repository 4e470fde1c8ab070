package tracingtest

import (
	"os"
	"os/exec"
	"testing"
)

const asProgram = "TEST_BINARY_AS_PROGRAM"

// AsProgram calls main, which is to end the process, if this process was made by
// [Program]. Call it from TestMain.
func AsProgram(main func()) {
	if os.Getenv(asProgram) != "" {
		main()
	}
}

// Program returns the program under test as a process of its own, not yet
// started: this test binary, with these arguments and these settings added to the
// environment. It is killed when the test ends.
func Program(t testing.TB, settings []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("find the program of this test: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=yes"), settings...)
	return cmd
}
