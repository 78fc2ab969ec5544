import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe, it } from '@jest/globals';

export type Program = 'php' | 'chromium' | 'curl' | 'prlimit';

interface Requirement {
  name: string;
  packages: string;
  isThere: () => boolean;
}

const requirements: Record<Program, Requirement> = {
  php: {
    name: 'php with ext-curl',
    packages: 'php-cli php-curl',
    isThere: () => spawnSync('php', ['-r', 'exit(extension_loaded("curl") ? 0 : 1);']).status === 0,
  },
  chromium: {
    name: 'chromium',
    packages: 'chromium',
    isThere: () => chromiumPath() !== undefined,
  },
  prlimit: {
    name: 'prlimit',
    packages: 'util-linux',
    isThere: () => inPath('prlimit') !== undefined,
  },
  curl: {
    name: 'curl',
    packages: 'curl',
    isThere: () => inPath('curl') !== undefined,
  },
};

/**
 * A suite that needs programs from outside npm. Where one is missing, the suite says so in the report instead
 * of passing silently; with POSTROOM_TEST_REQUIRE_ALL=1, as in CI, it fails.
 */
export function describeWith(programs: Program[], title: string, body: () => void): void {
  const missing = programs.map(program => requirements[program]).filter(({ isThere }) => !isThere());
  if (missing.length === 0) {
    describe(title, body);
    return;
  }

  describe(title, () => {
    for (const { name, packages } of missing) {
      const reason = `${name} is not installed (Debian: apt install ${packages})`;
      if (process.env.POSTROOM_TEST_REQUIRE_ALL === '1') {
        it(`needs ${name}`, () => {
          throw new Error(reason);
        });
      } else {
        it.skip(`skipped: ${reason}`, () => {});
      }
    }
  });
}

export function chromiumPath(): string | undefined {
  return inPath('chromium') ?? inPath('chromium-browser') ?? inPath('google-chrome');
}

function inPath(program: string): string | undefined {
  const candidates = (process.env.PATH ?? '').split(delimiter).map(folder => join(folder, program));
  return candidates.find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
