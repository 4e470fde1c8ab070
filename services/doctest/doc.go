// Package doctest holds the tests of what people read: README.md, CONTRIBUTING.md, docs and the README.md files below deploy. Links lead to
// something, commands are run by something or say why not, and versions are those in use. What a page says to do is done in the tests of
// packages systemtest and composetest.
package doctest
