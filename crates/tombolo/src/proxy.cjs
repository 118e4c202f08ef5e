// Node's own agents know nothing of HTTPS_PROXY (before NODE_USE_ENV_PROXY, and those that programs make for themselves
// not even with it), and Google's REST clients make one. `tombolo env --proxy` has Node load this first.
'use strict';

const http = require('node:http');
const https = require('node:https');
const tls = require('node:tls');

const proxy = URL.canParse(process.env.HTTPS_PROXY ?? '') ? new URL(process.env.HTTPS_PROXY) : null;
const exempt = (process.env.NO_PROXY ?? '').split(',').map((name) => name.trim()).filter(Boolean);
const direct = https.Agent.prototype.createConnection;

https.Agent.prototype.createConnection = function createConnection(options, callback) {
  const host = options.host ?? options.hostname;
  if (proxy?.protocol !== 'http:' || !callback || options.socketPath || exempt.includes(host)) {
    return direct.call(this, options, callback);
  }
  const target = `${host.includes(':') ? `[${host}]` : host}:${options.port}`;
  const headers = { host: target };
  if (proxy.password) {
    const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    headers['proxy-authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
  }
  const address = { host: proxy.hostname.replace(/^\[|\]$/g, ''), port: proxy.port || 80 };
  const request = http.request({ ...address, method: 'CONNECT', path: target, headers, agent: false });
  request.once('connect', (response, socket) => {
    if (response.statusCode !== 200) {
      socket.destroy();
      callback(new Error(`the proxy answers ${response.statusCode} ${response.statusMessage}`));
      return;
    }
    const servername = options.servername ?? host;
    callback(null, tls.connect({ ...options, socket, servername }));
  });
  request.once('error', callback);
  request.end();
  return undefined;
};
