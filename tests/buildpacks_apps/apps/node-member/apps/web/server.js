const fs = require("node:fs");
const http = require("node:http");

let development = "";
try {
  development = require.resolve("has-flag");
} catch {
  // It was needed to build only.
}
const tools = development || "without tools";
const said = `${fs.readFileSync("built.txt", "utf8")}, ${require("library")}, ${tools}`;
http.createServer((request, response) => response.end(said)).listen(process.env.PORT, "0.0.0.0");
