package main

import (
	"fmt"
	"net/http"
	"os"
	"runtime"

	"example.com/acme/words"
)

func main() {
	http.HandleFunc("/", func(writer http.ResponseWriter, request *http.Request) {
		fmt.Fprintf(writer, "%s, %s", words.Hello, runtime.Version())
	})
	if err := http.ListenAndServe(":"+os.Getenv("PORT"), nil); err != nil {
		panic(err)
	}
}
