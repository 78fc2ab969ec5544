#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import dotenv from 'dotenv';
import { printBanner } from './banner.js';
import { readCommand } from './cli.js';
import { readConfig, settingWarnings } from './config.js';
import { createLog } from './log.js';
import { StartError } from './model/start-error.js';
import { createServer } from './server.js';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

const command = readCommand(process.argv.slice(2), version);
if (command.name === 'print') {
  (command.exitCode === 0 ? console.log : console.error)(command.text);
  process.exitCode = command.exitCode;
} else await start();

async function start(): Promise<void> {
  dotenv.config({ quiet: true });
  let stops = 0;
  try {
    const config = readConfig(process.env);
    const log = createLog(config.LOG_LEVEL);
    for (const warning of settingWarnings(process.env)) log.warn(warning);
    const server = await createServer(config, log, { version });

    const stop = async (signal: NodeJS.Signals) => {
      if (++stops > 1) process.exit(1);
      log.info({ signal }, 'shutting down');
      await server.stop();
      log.info('stopped');
      process.exit(0);
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);

    await server.start();
    log.info(
      { url: server.url, internalUrl: server.internalUrl, socketUrl: server.socketUrl, version },
      'listening',
    );
    if (config.development) printBanner(config, server);
  } catch (error) {
    // The server was stopped while it started. The signal's handler ends the process.
    if (stops > 0) await new Promise(() => undefined);
    console.error(error instanceof StartError ? error.message : error);
    process.exit(1);
  }
}
