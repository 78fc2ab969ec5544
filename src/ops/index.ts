export { createApp } from './app.js';
export type { SourceReport } from './health.js';
export { Control } from './control/control.js';
