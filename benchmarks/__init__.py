"""Speed of Headrace as ratios to a bare HTTP server, measured in turns on the same machine. See docs/performance.md."""
