package doctest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const list = "docs/commands.txt"

// Every command that a page shows is in docs/commands.txt, and each one there is shown and is run by what it names, or has a reason why not.
func TestCommandsAreRun(t *testing.T) {
	shown := map[string]string{}
	for _, p := range pages(t) {
		if p.name == "CHANGELOG.md" {
			continue // what was, not what is
		}
		for _, c := range p.commands() {
			shown[c] = p.name
		}
	}
	require.Greater(t, len(shown), 50)
	listed := map[string]bool{}
	for line := range strings.Lines(read(t, list)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		command, by, found := strings.Cut(line, "\t")
		require.True(t, found, "%s: no tab in: %s", list, line)
		assert.False(t, listed[command], "%s has this twice: %s", list, command)
		listed[command] = true
		assert.NotEmpty(t, shown[command], "%s has what no page shows: %s", list, command)
		file, text, found := strings.Cut(by, ": ")
		require.True(t, found && text != "", "%s: who runs this, or why does nobody? %s", list, line)
		if file != "not run" {
			assert.True(t, strings.Contains(read(t, file), text), "%s says that %s runs this, by %s: %s", list, file, text, command)
		}
	}
	for command, name := range shown {
		assert.True(t, listed[command], "%s shows this, and %s does not have it: %s", name, list, command)
	}
}

var (
	comment = regexp.MustCompile(`(?m)\s+# .*$`)
	// What begins so is a command, within prose too, if there is more of it.
	program = regexp.MustCompile(`^(\w+=\S* )*(make|docker compose|kubectl|curl|go (test|run|build|mod)|bin/\w+|deploy/\S+/build) \S|^\.ci/run$`)
)

// commands are all that the page says to type.
func (p page) commands() (commands []string) {
	for _, text := range append(p.blocks(""), p.blocks("sh")...) {
		for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "")) {
			if line = plain(line); line != "" {
				commands = append(commands, line)
			}
		}
	}
	for _, text := range p.inline() {
		if program.MatchString(text) {
			commands = append(commands, plain(text))
		}
	}
	return commands
}

// plain is a command without its comment, and with single blanks.
func plain(line string) string {
	return strings.Join(strings.Fields(comment.ReplaceAllString(line, "")), " ")
}

func TestWhatIsTakenForACommand(t *testing.T) {
	p := page{text: "Type `make demo`, not `make`; see `docker-compose.yml`, `bin/demo` and\n`KAFKA_BROKERS=x bin/relay dlq list`.\n\n" +
		"```\nmake up    # starts\n\nkafka.sh --a \\\n  --b\n```\n\n```text\nno command\n```\n\n- in a list\n\n  ```\n  make down\n  ```\n"}
	assert.Equal(t, []string{"make up", "kafka.sh --a --b", "make down", "make demo", "KAFKA_BROKERS=x bin/relay dlq list"}, p.commands())
}
