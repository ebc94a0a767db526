// How one picture becomes another.
//
// Both are pulled along one slow current, the old one away and the new one into its place; bright
// parts travel first, so that light seems to carry the change. Where the new one has come is a front
// of cloud, not a line. Colours meet in linear light, so that no grey lies between two bright ones.

export const VERTEX = `#version 300 es
out vec2 at;
void main() {
  // One triangle that covers everything.
  vec2 corner = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2);
  at = vec2(corner.x, 1.0 - corner.y);
  gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}`;

export const FRAGMENT = `#version 300 es
precision highp float;
in vec2 at;
out vec4 colour;
uniform sampler2D from;
uniform sampler2D to;
uniform vec4 viewFrom;
uniform vec4 viewTo;
uniform vec2 aspect;
uniform float part;
uniform float now;
uniform float taste;
uniform float calm;

float chance(vec2 p) {
  p = fract(p * vec2(123.34, 456.21));
  p += dot(p, p + 45.32);
  return fract(p.x * p.y);
}

float noise(vec2 p) {
  vec2 cell = floor(p);
  vec2 f = fract(p);
  f = f * f * f * (f * (f * 6.0 - 15.0) + 10.0);
  return mix(mix(chance(cell), chance(cell + vec2(1, 0)), f.x),
             mix(chance(cell + vec2(0, 1)), chance(cell + vec2(1, 1)), f.x), f.y);
}

float cloud(vec2 p) {
  float sum = 0.0;
  float share = 0.5;
  for (int octave = 0; octave < 4; octave++) {
    sum += share * noise(p);
    p = mat2(1.6, 1.2, -1.2, 1.6) * p + 7.3;
    share *= 0.5;
  }
  return sum / 0.9375;
}

vec3 seen(sampler2D picture, vec4 view, vec2 where) {
  vec3 c = texture(picture, view.xy + (where * 2.0 - 1.0) * view.zw).rgb;
  return c * c;
}

float bright(vec3 c) { return sqrt(dot(c, vec3(0.2126, 0.7152, 0.0722))); }

void main() {
  float moves = 1.0 - calm;
  vec2 p = at * aspect;
  vec2 seed = vec2(taste * 37.0, taste * 91.0);
  float swell = cloud(p * 1.3 + seed + now * 0.035);
  float cross = cloud(p * 1.3 - seed.yx - now * 0.030 + 19.0);
  vec2 current = (vec2(swell, cross) - 0.5) * 2.0;

  // It breathes also while nothing changes.
  vec2 breath = current * 0.006 * moves;
  float before = bright(seen(from, viewFrom, at + breath));
  float after = bright(seen(to, viewTo, at + breath));
  float lead = (before + after - 0.8) * 0.16;

  float here = clamp(part + lead * part * (1.0 - part) * 4.0 * moves, 0.0, 1.0);
  vec2 pull = (current * 0.30 + vec2(0.0, (after - before) * 0.07)) / aspect * moves;
  vec3 a = seen(from, viewFrom, at + breath + pull * here);
  vec3 b = seen(to, viewTo, at + breath - pull * (1.0 - here));

  float front = mix(0.5, cloud(p * 2.1 + seed * 1.7 + current * 0.5), moves);
  float soft = mix(0.5, 0.38, moves);
  float reach = here * (1.0 + 2.0 * soft) - soft;
  float come = smoothstep(front - soft, front + soft, reach);
  come = mix(part, come, moves);

  vec3 c = mix(a, b, come);
  // Where both are, there is a little more light.
  c += c * come * (1.0 - come) * 0.55 * moves;
  c = sqrt(c);
  c += (chance(at * 917.0 + fract(now)) - 0.5) * 0.016 * moves;
  colour = vec4(c, 1.0);
}`;
