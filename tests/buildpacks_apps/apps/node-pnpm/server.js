const http = require("node:http");
const ms = require("ms");

let tools = "without tools";
try {
  tools = `with ${require.resolve("has-flag")}`;
} catch {
  // It is for development only.
}
const said = `pnpm, ${ms(60000)}, ${process.env.NODE_ENV}, ${tools}`;
http.createServer((request, response) => response.end(said)).listen(process.env.PORT, "0.0.0.0");
