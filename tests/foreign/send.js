// Posts events as the CloudEvents SDK writes them; prints the status of each answer by the event's id.
import { CloudEvent, HTTP } from "cloudevents";

const address = process.argv[2];
const attributes = { source: "/sdk/javascript", type: "tested", subject: "s-1", time: "2026-01-31T22:00:00.123Z", anextension: "x" };
const json = { n: 21.5, text: "Grüße €" };
const bytes = Uint8Array.from([0, 255, 254, 10]);

const made = (id, more) => new CloudEvent({ ...attributes, id, ...more });
const batch = ["batch-1", "batch-2"].map((id) => made(id, { data: json }));
const messages = {
  "binary-json": HTTP.binary(made("binary-json", { datacontenttype: "application/json", data: json })),
  "binary-text": HTTP.binary(made("binary-text", { datacontenttype: "text/plain", data: "Grüße €" })),
  "binary-bytes": HTTP.binary(made("binary-bytes", { datacontenttype: "application/octet-stream", data: bytes })),
  "binary-none": HTTP.binary(made("binary-none", {})),
  "structured-json": HTTP.structured(made("structured-json", { datacontenttype: "application/json", data: json })),
  "structured-bytes": HTTP.structured(made("structured-bytes", { datacontenttype: "application/octet-stream", data: bytes })),
  "batch": {
    headers: { "content-type": "application/cloudevents-batch+json" },
    body: JSON.stringify(batch),
  },
};

const statuses = {};
for (const [id, message] of Object.entries(messages)) {
  const answer = await fetch(address, { method: "POST", headers: message.headers, body: message.body });
  statuses[id] = [answer.status, await answer.text()];
}
console.log(JSON.stringify(statuses));
