package main

import (
	"bytes"
	"errors"
	"fmt"
)

// A number is an integer in canonical decimal notation: digits without leading
// zeros, after a minus if it is below zero. It may have any length.
type number []byte

func (n number) even() bool { return (n[len(n)-1]-'0')%2 == 0 }

// blank is what may surround a number: the white space of ASCII, and with it
// the line ends of Unix and Windows.
const blank = " \t\n\v\f\r"

// shown is how many bytes of a value an error quotes.
const shown = 64

var (
	errNull  = errors.New("not an integer: null value")
	errEmpty = errors.New("not an integer: empty value")
)

// parse reads one integer: white space of ASCII around it, one plus or minus,
// then nothing but the digits 0 to 9, at least one. Leading zeros and a plus are
// accepted and left out of the result, and minus zero is zero. Everything else
// is not an integer: fractions ("1.0", even though its value is one), exponents,
// other bases, separators, white space inside, digits of other scripts. It takes
// time in proportion to the length of the value, whatever it holds.
func parse(value []byte) (number, error) {
	if value == nil {
		return nil, errNull
	}
	text := bytes.Trim(value, blank)
	if len(text) == 0 {
		return nil, errEmpty
	}
	digits, negative := text, false
	if text[0] == '+' || text[0] == '-' {
		digits, negative = text[1:], text[0] == '-'
	}
	if len(digits) == 0 || len(bytes.Trim(digits, "0123456789")) > 0 {
		return nil, notInteger(text)
	}
	digits = bytes.TrimLeft(digits, "0")
	switch {
	case len(digits) == 0:
		return number("0"), nil
	case negative:
		return append(number("-"), digits...), nil
	default:
		return number(digits), nil
	}
}

func notInteger(text []byte) error {
	if len(text) > shown {
		return fmt.Errorf("not an integer: %q… (%d bytes)", text[:shown], len(text))
	}
	return fmt.Errorf("not an integer: %q", text)
}
