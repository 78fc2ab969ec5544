import { postroom } from './postroom.js';

// For pages without a bundler: <script src="…/postroom.global.js"> makes it window.postroom.
Object.assign(globalThis, { postroom });
