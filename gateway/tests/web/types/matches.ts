// What framewire.d.ts promises is what the modules are; `face.js` is framewire.js under another name.

import * as real from "./face.js";
import type * as declared from "./framewire.d.ts";
import type { TIMING } from "./timing.js";

/** Everything that is declared as a value is exported, and nothing else. */
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
const names: Same<keyof typeof real, keyof typeof declared> = true;

/** What is exported can do what is declared, in its constructor and in its instances. */
const framewire: typeof declared.Framewire = real.Framewire;
const problem: new (...how: never[]) => declared.Problem = real.Problem;
const loader: typeof declared.AsyncFrameLoader = real.AsyncFrameLoader;
const picture: typeof declared.JobPicture = real.JobPicture;
const progressive: typeof declared.ProgressiveLoader = real.ProgressiveLoader;
const buffer: typeof declared.FrameBuffer = real.FrameBuffer as never as typeof declared.FrameBuffer;

/** And an instance has no public name that is not declared. */
type Declared<Real, Promised> = Exclude<keyof Real, keyof Promised> extends never ? true : never;
const members: [
  Declared<real.Framewire, declared.Framewire>,
  Declared<real.AsyncFrameLoader, declared.AsyncFrameLoader>,
  Declared<real.JobPicture, declared.JobPicture>,
  Declared<real.ProgressiveLoader, declared.ProgressiveLoader>,
  Declared<real.FrameBuffer, declared.FrameBuffer>,
  Declared<declared.FrameBuffer, real.FrameBuffer>,
  Declared<Awaited<ReturnType<real.Framewire["generate"]>>, HandleOrInternal>,
] = [true, true, true, true, true, true, true];

/** What a handle has for the client itself. */
type HandleOrInternal = declared.JobHandle & {
  take: unknown;
  apply: unknown;
  lost: unknown;
  close: unknown;
};

const timing: Same<keyof typeof TIMING, keyof declared.Timing> = true;

export { buffer, framewire, loader, members, names, picture, problem, progressive, timing };
