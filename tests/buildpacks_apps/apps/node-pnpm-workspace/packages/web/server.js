const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");

const built = fs.readFileSync(path.join(__dirname, "built.txt"), "utf8");
http
  .createServer((request, response) => response.end(`${require("greeting")}, ${built}`))
  .listen(process.env.PORT, "0.0.0.0");
