const http = require("node:http");
const ms = require("ms");

http
  .createServer((request, response) => response.end(`npm, ${ms(60000)}, ${process.env.NODE_ENV}`))
  .listen(process.env.PORT, "0.0.0.0");
