// Command send posts events as the CloudEvents SDK writes them, and prints the status of each answer by the event's id.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

type sending struct {
	id      string
	request *http.Request
}

func main() {
	statuses := map[string][]any{}
	for _, one := range sendings(os.Args[1]) {
		answer, err := http.DefaultClient.Do(one.request)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			log.Fatal(err)
		}
		answer.Body.Close()
		statuses[one.id] = []any{answer.StatusCode, string(body)}
	}
	told, err := json.Marshal(statuses)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(told))
}

func sendings(address string) []sending {
	data := map[string]any{"n": 21.5, "text": "Grüße €"}
	bytes := []byte{0, 255, 254, 10}
	binary := binding.WithForceBinary(context.Background())
	structured := binding.WithForceStructured(context.Background())
	batch, err := cehttp.NewHTTPRequestFromEvents(context.Background(), address, []event.Event{
		made("batch-1", event.ApplicationJSON, data), made("batch-2", event.ApplicationJSON, data),
	})
	if err != nil {
		log.Fatal(err)
	}
	return []sending{
		{"binary-json", request(binary, address, made("binary-json", event.ApplicationJSON, data))},
		{"binary-text", request(binary, address, made("binary-text", event.TextPlain, "Grüße €"))},
		{"binary-bytes", request(binary, address, made("binary-bytes", "application/octet-stream", bytes))},
		{"binary-none", request(binary, address, made("binary-none", "", nil))},
		{"structured-json", request(structured, address, made("structured-json", event.ApplicationJSON, data))},
		{"structured-bytes", request(structured, address, made("structured-bytes", "application/octet-stream", bytes))},
		{"batch", batch},
	}
}

func made(id string, contentType string, data any) event.Event {
	one := event.New()
	one.SetID(id)
	one.SetSource("/sdk/go")
	one.SetType("tested")
	one.SetSubject("s-1")
	one.SetTime(time.Date(2026, 1, 31, 22, 0, 0, 123000000, time.UTC))
	one.SetExtension("anextension", "x")
	if data != nil {
		if err := one.SetData(contentType, data); err != nil {
			log.Fatal(err)
		}
	}
	return one
}

func request(ctx context.Context, address string, one event.Event) *http.Request {
	made, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := cehttp.WriteRequest(ctx, binding.ToMessage(&one), made); err != nil {
		log.Fatal(err)
	}
	return made
}
