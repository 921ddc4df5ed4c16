// Package words has what is said.
package words

// Hello is said first.
const Hello = "hello from a vendored module"
