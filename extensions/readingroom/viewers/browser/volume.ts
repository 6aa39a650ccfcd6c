// Volume rendering by vtk.js: the one script that is not part of a widget. It is loaded from the server when it is needed.

import vtkDataArray from "@kitware/vtk.js/Common/Core/DataArray";
import vtkImageData from "@kitware/vtk.js/Common/DataModel/ImageData";
import vtkPiecewiseFunction from "@kitware/vtk.js/Common/DataModel/PiecewiseFunction";
import vtkColorTransferFunction from "@kitware/vtk.js/Rendering/Core/ColorTransferFunction";
import vtkRenderer from "@kitware/vtk.js/Rendering/Core/Renderer";
import vtkRenderWindow from "@kitware/vtk.js/Rendering/Core/RenderWindow";
import type vtkRenderWindowInteractor from "@kitware/vtk.js/Rendering/Core/RenderWindowInteractor";
import vtkVolume from "@kitware/vtk.js/Rendering/Core/Volume";
import vtkVolumeMapper from "@kitware/vtk.js/Rendering/Core/VolumeMapper";
// Each registers itself: what stands here can be drawn, and nothing else is in the file.
import "@kitware/vtk.js/Rendering/OpenGL/Camera";
import "@kitware/vtk.js/Rendering/OpenGL/Renderer";
import vtkOpenGLRenderWindow from "@kitware/vtk.js/Rendering/OpenGL/RenderWindow";
import "@kitware/vtk.js/Rendering/OpenGL/Volume";
import "@kitware/vtk.js/Rendering/OpenGL/VolumeMapper";
import type { mat3 } from "gl-matrix";

import type { Look, Vector, Voxels } from "./rendering";

// Where the time is short: steps along a ray so many times as long, then one ray for so many pixels.
const LONGEST_STEPS = 2;
const MOST_PIXELS = 64;
const FINER = 0.7;
const POLL_MS = 4;

// All views of a page share this module, and their pictures are drawn one after the other: else each would take the time of
// all for its own.
let line: Promise<unknown> = Promise.resolve();

export interface Scene {
  resize(width: number, height: number): void;
  show(look: Look): void;
  // Unit vectors in the patient, LPS: from the volume to who looks, and up on the picture.
  look(towards: Vector, up: Vector, zoom: number): void;
  // As finely as it can be in so many milliseconds, by what the picture before took. Answers when it is on the screen,
  // and whether the same time would be enough for a finer one: a coarse picture says little of what a fine one takes.
  draw(budget: number): Promise<boolean>;
  stop(): void;
}

function imageOf({ data, shape, affine }: Voxels) {
  const [slices, rows, columns] = shape;
  const axis = (k: number): Vector => [affine[k], affine[4 + k], affine[8 + k]];
  // vtk.js counts columns first.
  const axes = [axis(2), axis(1), axis(0)];
  const lengths = axes.map((one) => Math.hypot(...one));
  const image = vtkImageData.newInstance();
  image.setDimensions(columns, rows, slices);
  image.setSpacing(lengths as Vector);
  image.setOrigin(axis(3));
  image.setDirection(axes.flatMap((one, i) => one.map((v) => v / lengths[i])) as mat3);
  image.getPointData().setScalars(vtkDataArray.newInstance({ name: "stored", values: data, numberOfComponents: 1 }));
  return { image, finest: Math.min(...lengths) };
}

export function makeScene(place: HTMLElement, voxels: Voxels): Scene {
  const { image, finest } = imageOf(voxels);
  const [slices, rows, columns] = voxels.shape;
  const centre = image.indexToWorld([(columns - 1) / 2, (rows - 1) / 2, (slices - 1) / 2]) as Vector;
  const mapper = vtkVolumeMapper.newInstance();
  mapper.setInputData(image);
  mapper.setAutoAdjustSampleDistances(false);
  mapper.setMaximumSamplesPerRay(4096);
  mapper.setInitialInteractionScale(MOST_PIXELS);
  mapper.setInteractionSampleDistanceFactor(1);
  const actor = vtkVolume.newInstance();
  actor.setMapper(mapper);
  const renderer = vtkRenderer.newInstance({ background: [0, 0, 0] });
  renderer.addVolume(actor);
  const camera = renderer.getActiveCamera();
  camera.setParallelProjection(true);
  const window = vtkRenderWindow.newInstance();
  window.addRenderer(renderer);
  const view = vtkOpenGLRenderWindow.newInstance();
  view.setContainer(place);
  window.addView(view);
  // Shorter steps than voxels: else the rays' random starts show as grain.
  const step = finest / 2;
  let pixels = MOST_PIXELS;
  let rescale = () => {};
  // All that is asked of vtk.js's own, which listens to pointer and keys and would have them to itself: whether there is
  // one ray for several pixels, and when their number, which it keeps squared, is another one.
  const interactor = {
    isAnimating: () => pixels > 1,
    onAnimationFrameRateUpdate(renew: () => void) {
      rescale = renew;
      return { unsubscribe() {} };
    },
  };
  window.setInteractor(interactor as unknown as vtkRenderWindowInteractor);
  const stored = (value: number) => (value - voxels.intercept) / voxels.slope;
  // What a picture in full would take, in milliseconds; nobody knows yet.
  let full = Infinity;
  let stopped = false;
  function choose(over: number) {
    const longer = Math.min(over, LONGEST_STEPS);
    const shared = Math.min(over / longer, MOST_PIXELS);
    // vtk.js takes one ray a pixel for fewer.
    pixels = shared > 1.5 ? shared : 1;
    mapper.setSampleDistance(step * longer);
    mapper.setImageSampleDistance(Math.sqrt(pixels));
    rescale();
    return pixels * longer;
  }
  async function drawn() {
    // The same one that vtk.js draws with.
    const gl = place.querySelector("canvas")?.getContext("webgl2");
    if (!gl) return;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    if (!fence) return;
    while (!stopped && !gl.isContextLost() && gl.getSyncParameter(fence, gl.SYNC_STATUS) !== gl.SIGNALED) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    gl.deleteSync(fence);
  }
  return {
    resize(width, height) {
      view.setSize(width, height);
      full = Infinity;
    },
    show({ blend, colours, opacity }) {
      const property = actor.getProperty();
      const colour = vtkColorTransferFunction.newInstance();
      for (const [value, red, green, blue] of colours) colour.addRGBPoint(stored(value), red, green, blue);
      const hides = vtkPiecewiseFunction.newInstance();
      for (const [value, part] of opacity) hides.addPoint(stored(value), part);
      property.setRGBTransferFunction(0, colour);
      property.setScalarOpacity(0, hides);
      property.setScalarOpacityUnitDistance(0, 1);
      property.setInterpolationTypeToLinear();
      property.setShade(blend === "composite");
      property.setAmbient(0.25);
      property.setDiffuse(0.75);
      property.setSpecular(0.15);
      property.setSpecularPower(12);
      if (blend === "maximum") mapper.setBlendModeToMaximumIntensity();
      else mapper.setBlendModeToComposite();
    },
    look(towards, up, zoom) {
      const far = 4 * voxels.reach;
      camera.setFocalPoint(...centre);
      camera.setPosition(...(centre.map((v, i) => v + far * towards[i]) as Vector));
      camera.setViewUp(...up);
      camera.setParallelScale(voxels.reach / zoom);
      renderer.resetCameraClippingRange();
    },
    draw(budget) {
      const drawing = line.then(async () => {
        if (stopped) return false;
        const spared = choose(Math.max(full / budget, 1));
        const begun = performance.now();
        view.traverseAllPasses();
        await drawn();
        full = (performance.now() - begun) * spared;
        return Math.max(full / budget, 1) < FINER * spared;
      });
      line = drawing.catch(() => false);
      return drawing;
    },
    stop() {
      stopped = true;
      window.removeView(view);
      view.setContainer(null as unknown as HTMLElement); // its types forget that this takes it out of the page
      view.delete();
      for (const one of [window, renderer, actor, mapper, image]) one.delete();
    },
  };
}
