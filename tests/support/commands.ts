import { spawn } from 'node:child_process';

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a PHP script. Every notice and deprecation goes to stderr. */
export function runPhp(script: string, env: Record<string, string>): Promise<Outcome> {
  return run(
    'php',
    ['-d', 'error_reporting=-1', '-d', 'display_errors=stderr', '-d', 'html_errors=0'],
    script,
    env,
  );
}

export function runShell(line: string, env: Record<string, string> = {}): Promise<Outcome> {
  return run('sh', ['-c', line], '', env);
}

function run(program: string, args: string[], input: string, env: Record<string, string>): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: { PATH: process.env.PATH, ...env } });
    const outcome: Outcome = { code: null, stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        outcome[name] += text;
      });
    }
    child.once('error', reject);
    child.once('close', code => resolve({ ...outcome, code }));
    child.stdin.end(input);
  });
}
