/** For the tests' harness: the very platform that `npm start` starts. */
export { readConfig } from './config.ts';
export { Failure } from './failure.ts';
export { Home } from './home/home.ts';
export { FIXTURE, findInstalled } from './models/model-folder.ts';
export { pullModel } from './models/pull.ts';
export { type Platform, startPlatform } from './platform/platform.ts';
export { freePort } from './processes/ports.ts';
export { lineProgress, type Progress, silentProgress } from './progress.ts';
