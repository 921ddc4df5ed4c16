// A small web app: says which version and which release answers.
const http = require('node:http');
const parseUrl = require('parseurl');

const VERSION = '1';
const release = process.env.CYGNI_RELEASE || 'none';

const server = http.createServer((request, response) => {
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  switch (parseUrl(request).pathname) {
    case '/':
      response.end(`Hello from Node.js ${process.version}, version ${VERSION}, release ${release}\n`);
      break;
    case '/health':
      response.end('ok\n');
      break;
    default:
      response.statusCode = 404;
      response.end('not found\n');
  }
});

server.listen(Number(process.env.PORT), '0.0.0.0');

process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
