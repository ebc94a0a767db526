/** Order a picture, watch it develop, never lose one. */

export interface Frame {
  index: number;
  url: string;
  content_type: string;
  width: number;
  height: number;
  bytes: number;
  sha256: string;
  seed: number;
}

export interface Fallback {
  url: string;
  kind: string;
}

export interface Progress {
  stage: string;
  step?: number;
  steps?: number;
  fraction?: number;
  eta_ms?: number | null;
}

export interface Preview {
  index: number;
  url: string;
  step: number;
}

export type Status =
  "queued" | "processing" | "generating" | "uploading" | "completed" | "failed" | "cancelled";

export interface JobError {
  code: string;
  message: string;
  retryable: boolean;
  failure_stage?: string | null;
  provider?: string | null;
}

/** A job as the gateway shows it; see its /openapi.json. */
export interface Job {
  id: string;
  v: number;
  status: Status;
  queue_position: number | null;
  estimated_wait_ms: number | null;
  progress: Progress | null;
  preview: Preview | null;
  frames: Frame[];
  /** Frames that could not be made, and why. */
  missing?: { index: number; error: { code: string; message: string } }[];
  error: JobError | null;
  fallback: Fallback | null;
  [field: string]: unknown;
}

export interface Outcome {
  status: "completed" | "failed" | "cancelled";
  frames: Frame[];
  error: JobError | null;
  fallback: Fallback | null;
  /** The first frame's address, else the fallback's. */
  picture: string | null;
  job: Job;
}

export interface ShownFallback extends Partial<Fallback> {
  reason: "waited" | "completed" | "failed" | "cancelled" | "unknown";
}

export interface Listeners {
  /** Jobs ahead. */
  position?(ahead: number, handle: JobHandle): void;
  progress?(progress: Progress, handle: JobHandle): void;
  preview?(preview: Preview, handle: JobHandle): void;
  /** Each frame as it is stored. */
  frame?(frame: Frame, handle: JobHandle): void;
  /** Nothing to show within the cap, or ever. */
  fallback?(fallback: ShownFallback, handle: JobHandle): void;
  settled?(outcome: Outcome, handle: JobHandle): void;
  /** Anything of the job that changed. */
  change?(job: Job, handle: JobHandle): void;
}

export interface JobEvent {
  type: string;
  job: string;
  v: number;
  status?: Status;
  at?: number;
  [field: string]: unknown;
}

export interface JobHandle extends AsyncIterable<JobEvent> {
  readonly id: string;
  readonly job: Job;
  readonly status: Status;
  /** Jobs ahead; null unless it waits. */
  readonly position: number | null;
  readonly progress: Progress | null;
  readonly preview: Preview | null;
  readonly frames: Frame[];
  readonly settled: boolean;
  /** The outcome at the end, whatever the end is; never rejects. */
  readonly result: Promise<Outcome>;
  /** The first thing to show: a frame, or at the cap a fallback; never later. */
  readonly first: Promise<Frame | ShownFallback>;
  /** Adds callbacks; they hear at once what is there already. */
  on(listeners: Listeners): this;
  cancel(): Promise<JobHandle>;
  /** Tries again after a failure or a cancellation; `result` and `first` are new ones. */
  retry(): Promise<JobHandle>;
}

export interface Order {
  prompt?: string;
  width?: number;
  height?: number;
  steps?: number;
  seed?: number;
  n?: number;
  model?: string;
  priority?: "high" | "normal" | "low";
  start_within_s?: number;
  metadata?: Record<string, unknown>;
  /** The whole input, instead of its fields beside the others. */
  input?: Record<string, unknown>;
  [field: string]: unknown;
}

export type State = "idle" | "connecting" | "live" | "reconnecting" | "polling";

export interface Options {
  /** Where the gateway is; in a page, the page's own origin. */
  url?: string;
  /** A session's token, where it is not a cookie. It is never replaced. */
  token?: string;
  /** Model of orders that name none: `builtin`. */
  model?: string;
  /** Longest time without anything to show; else twice the estimate, at most 30 s. */
  capMs?: number;
  /** Keeps each frame for when there is no network. */
  cacheFrames?: boolean;
  /** Frames that are kept: 200. */
  framesMax?: number;
  /** Whether tabs share one stream: true. */
  share?: boolean;
  onState?(state: State): void;
  /** Everything that the stream says, as it is: events, `sync`, `ping` and `bye`. */
  onWire?(said: Said): void;
  /** Something may have been missed; jobs in flight are read again without being asked to. */
  onReset?(): void;
  fetch?: typeof fetch;
  EventSource?: new (url: string) => EventSource;
  storage?: Storage;
  /** Other times than those in timing.js. */
  timing?: Record<string, number>;
}

export interface Said {
  type: string;
  data: Record<string, unknown>;
  /** Null where it has none of its own. */
  id: string | null;
}

export interface FrameCache {
  get(url: string): Promise<Blob>;
  keep(url: string): Promise<boolean>;
}

export class Framewire {
  constructor(options?: Options);
  readonly inFlight: number;
  readonly state: State;
  readonly leads: boolean;
  readonly frames: FrameCache;
  generate(
    order: Order,
    how?: {
      idempotencyKey?: string;
      capMs?: number;
      signal?: AbortSignal;
      /** Hears of each pause before an order without an answer is sent again. */
      onWait?(pauseMs: number): void;
    },
  ): Promise<JobHandle>;
  resume(): Promise<JobHandle[]>;
  watch(id: string): Promise<JobHandle>;
  /** Calls the API as this session; rejects with a `Problem`. A `FormData` is sent as it is. */
  call(
    method: string,
    path: string,
    options?: { body?: unknown; headers?: Record<string, string> },
  ): Promise<any>;
  /** Follows every job of the session, whoever orders it. */
  follow(onJob: (handle: JobHandle) => void): void;
  /** Comes back to the stream at once. */
  reconnect(): void;
  href(path: string): string;
  close(): void;
}

export class Problem extends Error {
  readonly status: number;
  readonly code: string | null;
  readonly fields: { pointer: string; detail: string }[];
  readonly fallback: Fallback | null;
  readonly retryAfterMs: number | null;
}

export class AsyncFrameLoader<Picture = ImageBitmap> {
  constructor(get: (url: string) => Promise<Blob>, options?: { parallel?: number });
  load(url: string): Promise<Picture>;
}

export class ProgressiveLoader<Picture = ImageBitmap> {
  constructor(
    show: (picture: Picture, kind: "fallback" | "preview" | "frame", url: string) => void,
    load: (url: string) => Promise<Picture>,
  );
  follow(handle: JobHandle): this;
  offer(kind: "fallback" | "preview" | "frame", url: string): Promise<boolean>;
}

export class FrameBuffer<Item extends { index: number } = Frame> {
  constructor(framesMax?: number);
  readonly size: number;
  push(frame: Item): boolean;
  next(): Promise<Item>;
  skip(): void;
}
