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
  /** The session's last frame of the model, one that the model publishes, or the one that ships. */
  kind: "session" | "catalogue" | "static";
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

/** What a job's attempts have used, as its provider counts it. */
export interface Usage {
  input_tokens?: number | null;
  output_tokens?: number | null;
  /** Seconds on the provider's machine. */
  predict_s?: number | null;
  /** The provider's own unit. */
  billable_units?: number | null;
}

export type Status =
  "queued" | "processing" | "generating" | "uploading" | "completed" | "failed" | "cancelled";

export interface JobError {
  code: string;
  message: string;
  retryable: boolean;
  failure_stage?: string | null;
  provider?: string | null;
  provider_status?: number | null;
  provider_code?: string | null;
  provider_request_id?: string | null;
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
  error: JobError | null;
  fallback: Fallback | null;
  /** Frames of a completed job that could not be made. */
  missing?: { index: number; error: { code: string; message: string } }[];
  /** Whether its frames are copies of what the very same order of somebody got. */
  cached?: boolean;
  /** Null while no provider has told. */
  usage?: Usage | null;
  input?: { prompt?: string; [field: string]: unknown };
  /** True of one that the gateway does not know: it says so, and the client has it fail. */
  isUnknown?: boolean;
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
  /** What to start from: a file's id, a frame's URL, an https or a data URL. */
  image?: string;
  /** White where it shall be drawn anew. */
  mask?: string;
  /** How much may change, above 0 and at most 1. */
  strength?: number;
  /** Whether the very same order, with its seed, may share one picture. */
  cache?: boolean;
  model?: string;
  priority?: "high" | "normal" | "low";
  start_within_s?: number;
  metadata?: Record<string, unknown>;
  /** The whole input, instead of its fields beside the others. */
  input?: Record<string, unknown>;
  [field: string]: unknown;
}

/** As much of an EventSource as is needed. */
export interface EventStream {
  addEventListener(type: string, handle: (event: MessageEvent) => void): void;
  onerror: ((event: Event) => unknown) | null;
  close(): void;
}

export type State = "idle" | "connecting" | "live" | "reconnecting" | "polling";

/** How long the client waits for what, in milliseconds or times; see timing.js. */
export interface Timing {
  firstSyncMs: number;
  silencePings: number;
  steadyMs: number;
  reconnectMs: number;
  reconnectMsMax: number;
  blockedTries: number;
  blockedAgainMs: number;
  pollMs: number;
  pollMsMax: number;
  checkMs: number;
  submitTries: number;
  submitMs: number;
  submitMsMax: number;
  loadTries: number;
  remakeMs: number;
  remakeMsMax: number;
  capMsMax: number;
  quietPings: number;
  leaderPings: number;
}

export interface Options {
  /** Where the gateway is; in a page, the page's own origin. */
  url?: string;
  /** A session's token, where it is not a cookie. It is never replaced. */
  token?: string;
  /** Model of orders that name none; else the gateway's default one. */
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
  EventSource?: new (url: string) => EventStream;
  storage?: Storage;
  /** Other times than those in timing.js. */
  timing?: Partial<Timing>;
}

export interface Said {
  type: string;
  data: Record<string, unknown>;
  /** Null where it has none of its own. */
  id: string | null;
}

export interface FrameCache {
  get(url: string): Promise<Blob>;
  /** Gives whether it is kept. */
  keep(url: string): Promise<boolean>;
  /** The addresses of all that is kept, oldest first. */
  all(): Promise<string[]>;
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
  /**
   * Frames of an order, ready and under way; null where the gateway has no `POST /v1/frames/next`,
   * and for an order with a data URL, which is refused there.
   */
  nextFrames(
    order: Order,
    how?: { count?: number; seen?: string[]; signal?: AbortSignal },
  ): Promise<{ frames: Frame[]; jobs: JobHandle[]; fallback: Fallback | null } | null>;
  resume(): Promise<JobHandle[]>;
  watch(id: string): Promise<JobHandle>;
  /** Calls the API as this session; rejects with a `Problem`. A `FormData` is sent as it is. */
  call(
    method: string,
    path: string,
    options?: { body?: object; headers?: Record<string, string> },
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

/** What can be shown: in a page a decoded picture; where there is no decoder, the bytes. */
export type Picture = ImageBitmap | Blob;

/** Loads and decodes pictures, as many at a time as the network bears. */
export class AsyncFrameLoader {
  constructor(
    get: (url: string) => Promise<Blob>,
    options?: { parallel?: number; timing?: Partial<Timing> },
  );
  /** Loads a picture, in a page an `ImageBitmap`; who asked for it closes it. */
  load(url: string): Promise<any>;
}

/** Shows a job on a picture element: what stands in, then previews, then the frame. */
export class JobPicture<P = any> {
  constructor(
    show: (picture: P, kind: "fallback" | "preview" | "frame", url: string) => void,
    load: (url: string) => Promise<P>,
  );
  follow(handle: JobHandle): this;
  /** Offers a picture; gives whether it was shown. */
  offer(kind: "fallback" | "preview" | "frame", url: string): Promise<boolean>;
}

/** So many frames of one order: those that are ready at once, the rest as they come. */
export class ProgressiveLoader {
  constructor(
    fw: Framewire,
    options?: { load?: (url: string) => Promise<any>; timing?: Partial<Timing> },
  );
  /** Throws when nothing comes any more. Who leaves the loop early cancels what is under way. */
  want(
    count: number,
    order: Order,
  ): AsyncGenerator<{ frame: Frame; picture: any }, void, undefined>;
}

export interface BufferedFrame {
  picture: any;
}

export interface BufferOptions {
  /** Frames that are kept ahead: 3. */
  ahead?: number;
  /** Whether a picture may be shown; by default whether it has a size and more than one shade. */
  isValid?: (picture: any) => boolean;
  timing?: Partial<Timing>;
}

/** Keeps a few frames ahead, and hands out none without a valid picture. */
export class FrameBuffer<Item extends BufferedFrame = BufferedFrame> {
  /** `make` makes one frame; what fails is made anew after a pause. */
  constructor(make: (signal: AbortSignal) => Promise<Item>, options?: BufferOptions);
  /** Fills a buffer with a client's frames; `next` gives each order, or a handle under way. */
  static of<O extends Order | JobHandle>(
    fw: Framewire,
    next: () => O | Promise<O>,
    options?: BufferOptions & {
      /** Longest wait for one frame before its job is cancelled: 60 s. */
      patienceMs?: number;
      load?: (url: string) => Promise<any>;
    },
  ): FrameBuffer<{ picture: any; frame: Frame; order: O; job: JobHandle }>;
  /** Frames that can be taken at once. */
  readonly size: number;
  /** Frames that failed since the last that did not. */
  readonly failed: number;
  take(): Item | null;
  next(): Promise<Item>;
  /** Drops all that is there and under way, and begins anew. */
  flush(): void;
  close(): void;
}
