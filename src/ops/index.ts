export { createApp } from './app.js';
export type { SourceReport } from './health.js';
export { handleRemovals } from './removal.js';
