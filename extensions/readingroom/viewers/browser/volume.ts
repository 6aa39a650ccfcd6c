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

// While it turns, one ray for so many pixels, and steps along it so many times as long.
const PIXELS_A_RAY = 9;
const LONGER_STEPS = 4;

export interface Scene {
  resize(width: number, height: number): void;
  show(look: Look): void;
  // Unit vectors in the patient, LPS: from the volume to who looks, and up on the picture.
  look(towards: Vector, up: Vector, zoom: number): void;
  draw(coarse: boolean): void;
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
  // Shorter steps than voxels: else the rays' random starts show as grain.
  mapper.setSampleDistance(finest / 2);
  mapper.setMaximumSamplesPerRay(4096);
  mapper.setInitialInteractionScale(PIXELS_A_RAY);
  mapper.setInteractionSampleDistanceFactor(LONGER_STEPS);
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
  let coarsely = false;
  // All that is asked of vtk.js's own, which listens to pointer and keys and would have them to itself.
  const interactor = { isAnimating: () => coarsely, onAnimationFrameRateUpdate: () => ({ unsubscribe() {} }) };
  window.setInteractor(interactor as unknown as vtkRenderWindowInteractor);
  const stored = (value: number) => (value - voxels.intercept) / voxels.slope;
  return {
    resize: (width, height) => view.setSize(width, height),
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
    draw(coarse) {
      coarsely = coarse;
      view.traverseAllPasses();
    },
    stop() {
      window.removeView(view);
      view.setContainer(null as unknown as HTMLElement); // its types forget that this takes it out of the page
      view.delete();
      for (const one of [window, renderer, actor, mapper, image]) one.delete();
    },
  };
}
