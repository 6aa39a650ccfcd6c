// What JupyterLab and Notebook 7 show of a widget whose kernel is gone: what was saved beside it, a picture with its words.
// By themselves they write "Error displaying widget: model not found" over a picture that is in the file.
//
// It is loaded as a prebuilt extension, which is a module federation container: init and get are called by JupyterLab.
// It is copied where it is installed, and shares nothing with the widgets' scripts: a change of theirs leaves it as it is.

const MIME = "application/vnd.jupyter.widget-view+json";
const AGAIN = "As it was when this cell ran. Run the cell again to work with it.";
// A widget that is alive comes much sooner; one that is not is waited for for two seconds.
const PATIENCE_MS = 600;

type Data = Record<string, unknown>;
interface Output {
  data: Data;
}

// Of Lumino's Panel, what is used here.
interface Renderer {
  node: HTMLElement;
  widgets: readonly unknown[];
  isHidden: boolean;
  renderModel(model: Output): Promise<void>;
  dispose(): void;
}

interface Registry {
  getFactory(mimeType: string): { createRenderer(options: { mimeType: string }): Renderer } | undefined;
}

type Shared = Record<string, Record<string, { get(): Promise<() => Record<string, unknown>> }>>;

function text(value: unknown): string {
  return Array.isArray(value) ? value.join("") : String(value ?? "");
}

function still(data: Data): HTMLElement[] {
  const words = text(data["text/plain"]);
  const png = text(data["image/png"]).trim();
  const shown = png ? new Image() : document.createElement("pre");
  if (shown instanceof HTMLImageElement) {
    shown.alt = words;
    shown.style.maxWidth = "100%";
    shown.src = `data:image/png;base64,${png}`;
  } else shown.textContent = words;
  const said = document.createElement("p");
  said.textContent = AGAIN;
  return [shown, said];
}

function showStills(registry: Registry) {
  const probe = registry.getFactory(MIME)?.createRenderer({ mimeType: MIME });
  if (!probe) return;
  // All renderers of widgets, those of each notebook too, share it.
  const kind = Object.getPrototypeOf(probe) as Renderer;
  probe.dispose();
  const { renderModel } = kind;
  kind.renderModel = async function (model: Output) {
    const fill = () => {
      if (!this.widgets.length && !this.isHidden) this.node.replaceChildren(...still(model.data));
    };
    const late = setTimeout(fill, PATIENCE_MS);
    await renderModel.call(this, model);
    clearTimeout(late);
    fill();
  };
}

let scope: Shared = {};

async function shared(name: string): Promise<Record<string, unknown>> {
  const versions = Object.values(scope[name] ?? {});
  return versions[0] ? (await versions[0].get())() : {};
}

const container = {
  init(given: Shared) {
    scope = given;
  },
  async get() {
    const { IRenderMimeRegistry } = await shared("@jupyterlab/rendermime");
    const { IJupyterWidgetRegistry } = await shared("@jupyter-widgets/base");
    const plugin = {
      id: "readingroom:stills",
      autoStart: true,
      // The second one only for the order: the renderer of widgets is there when that plugin is.
      requires: [IRenderMimeRegistry, IJupyterWidgetRegistry],
      activate: (_app: unknown, registry: Registry) => showStills(registry),
    };
    return () => ({ __esModule: true, default: plugin });
  },
};

const here = window as { _JUPYTERLAB?: Record<string, typeof container> };
here._JUPYTERLAB = { ...here._JUPYTERLAB, readingroom: container };
