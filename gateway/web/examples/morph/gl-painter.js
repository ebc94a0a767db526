// Paints with WebGL2: the shaders are in `shaders.js`. A picture becomes a texture once, and its
// texture goes when it has left the stage.

import { FRAGMENT, VERTEX } from "./shaders.js";
import { ease, viewOf } from "./view.js";

/** Renderers that paint with the processor, which not every browser calls a caveat. */
const SLOW = /swiftshader|llvmpipe|software|basic render/i;
const UNIFORMS = ["from", "to", "viewFrom", "viewTo", "part", "now", "taste", "aspect", "calm"];

export class GlPainter {
  canvas;
  isLost = false;
  isPlain = false;
  #gl;
  #at = {};
  #textures = new Map();

  /** Gives a painter, or null where there is no WebGL2, or only a slow one. `must`: a slow one will do. */
  static make(must) {
    try {
      const canvas = document.createElement("canvas");
      const gl = canvas.getContext("webgl2", {
        alpha: false,
        antialias: false,
        depth: false,
        stencil: false,
        failIfMajorPerformanceCaveat: !must,
        // What was painted stays, also where the browser shows a canvas twice or a page reads it.
        preserveDrawingBuffer: true,
      });
      if (!gl || (!must && SLOW.test(nameOf(gl)))) return null;
      return new GlPainter(canvas, gl);
    } catch {
      return null;
    }
  }

  constructor(canvas, gl) {
    this.canvas = canvas;
    this.#gl = gl;
    canvas.addEventListener("webglcontextlost", () => (this.isLost = true));
    const program = gl.createProgram();
    for (const [type, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(gl.getProgramInfoLog(program) || "the shaders don't link");
    }
    gl.useProgram(program);
    for (const name of UNIFORMS) this.#at[name] = gl.getUniformLocation(program, name);
    gl.uniform1i(this.#at.from, 0);
    gl.uniform1i(this.#at.to, 1);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
  }

  paint(from, to, part, now_s, calm) {
    const gl = this.#gl;
    const { width, height } = this.canvas;
    const target = to ?? from;
    this.#keepOnly([from.picture, target.picture]);
    this.#use(0, from, this.#at.viewFrom, now_s, calm);
    this.#use(1, target, this.#at.viewTo, now_s, calm);
    gl.viewport(0, 0, width, height);
    gl.uniform1f(this.#at.part, to ? ease(part) : 0);
    gl.uniform1f(this.#at.now, now_s % 3600);
    gl.uniform1f(this.#at.taste, target.taste);
    gl.uniform2f(this.#at.aspect, width / Math.min(width, height), height / Math.min(width, height));
    gl.uniform1f(this.#at.calm, calm ? 1 : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    // A loss is told later than it happens; what was painted meanwhile is blank.
    if (gl.isContextLost()) this.isLost = true;
  }

  #use(unit, shown, at, now_s, calm) {
    const gl = this.#gl;
    const { width, height } = this.canvas;
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, this.#textures.get(shown.picture) ?? this.#load(shown.picture));
    const { x, y, halfWidth, halfHeight } = viewOf(shown, width, height, now_s, calm);
    gl.uniform4f(at, x, y, halfWidth, halfHeight);
  }

  #load(picture) {
    const gl = this.#gl;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.MIRRORED_REPEAT);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.MIRRORED_REPEAT);
    this.#textures.set(picture, texture);
    return texture;
  }

  #keepOnly(pictures) {
    for (const [picture, texture] of this.#textures) {
      if (pictures.includes(picture)) continue;
      this.#gl.deleteTexture(texture);
      this.#textures.delete(picture);
    }
  }
}

function nameOf(gl) {
  const more = gl.getExtension("WEBGL_debug_renderer_info");
  return String(gl.getParameter(more ? more.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
}
