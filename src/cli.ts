import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** A command line asks to start a server, or to print a text and end with an exit code. */
export type Command =
  | { readonly name: 'start' }
  | { readonly name: 'print'; readonly text: string; readonly exitCode: 0 | 2 };

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const;

const COMMANDS = ['start', 'help'];

/** Reads the arguments after the program's name. Reads and starts nothing else. */
export function readCommand(args: readonly string[], version: string): Command {
  // Not strict: our own message names the unknown argument and --help.
  const { tokens, values } = parseArgs({ args: [...args], options: OPTIONS, strict: false, tokens: true });
  const unknown = tokens.find(token => !isKnown(token));
  if (unknown) return { name: 'print', text: refusal(unknown), exitCode: 2 };
  if (values.help || args[0] === 'help') return { name: 'print', text: help(version), exitCode: 0 };
  if (values.version) return { name: 'print', text: version, exitCode: 0 };
  return { name: 'start' };
}

type Token = NonNullable<ReturnType<typeof parseArgs>['tokens']>[number];

function isKnown(token: Token): boolean {
  if (token.kind === 'positional') return token.index === 0 && COMMANDS.includes(token.value);
  if (token.kind === 'option') return Object.hasOwn(OPTIONS, token.name) && token.value === undefined;
  return false;
}

function refusal(token: Token): string {
  const see = 'See postroom --help.';
  if (token.kind === 'positional') return `postroom: unknown command ${token.value}. ${see}`;
  if (token.kind === 'option' && Object.hasOwn(OPTIONS, token.name))
    return `postroom: ${token.rawName} takes no value. ${see}`;
  const option = token.kind === 'option' ? token.rawName : '--';
  return `postroom: unknown option ${option}. Settings come from the environment: PORT=9000 postroom. ${see}`;
}

function help(version: string): string {
  const path = (file: string) => fileURLToPath(new URL(`../${file}`, import.meta.url));
  return `Postroom ${version} takes POST /notify from a backend and sends it to browsers over WebSockets.

Usage:
  postroom [start]      start the server, here, in the foreground
  postroom --help       print this text
  postroom --version    print the version

Settings come from the environment (PORT=9000 postroom), or from the file .env in the working directory.
All of them, with their defaults: ${path('.env.example')}
How to use it:                    ${path('README.md')}
Everything else:                  ${path('docs')}`;
}
