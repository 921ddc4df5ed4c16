package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"

	"example.com/acme/words"
)

func main() {
	listener, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		reader := bufio.NewReader(connection)
		for line := ""; line != "\r\n" && err == nil; {
			line, err = reader.ReadString('\n')
		}
		body := fmt.Sprintf("%s, %s", words.Hello, runtime.Version())
		fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		connection.Close()
	}
}
