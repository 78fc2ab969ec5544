export { createApp } from './app.js';
export { handleRemovals } from './removal.js';
export type { SourceReport } from './health.js';
