export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/tests'],
  // They take minutes: npm run test:faults
  testPathIgnorePatterns: ['<rootDir>/tests/faults/', '<rootDir>/tests/hostile/'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: { '^.+\\.ts$': ['@swc/jest', { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } }] },
  testTimeout: 15_000,
};
