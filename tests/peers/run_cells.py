"""Run the cells of :mod:`notebook_steps` in one package, and store what each leaves in ``result``.

``python run_cells.py {allensdk|ours|ours-compat} STEPS RESULTS MANIFEST SESSION``. A cell that raises is an answer too,
and the next one runs.
"""

import sys
import warnings
from pathlib import Path

import matplotlib as mpl

sys.path.insert(0, str(Path(__file__).parent))  # the programs beside this one

from session_calls import Store

mpl.use("agg")
warnings.simplefilter("ignore")


def main(package, steps, folder, manifest, session):
    code = Path(steps).read_text()
    if package != "allensdk":
        from allen_ecephys.cli.migrate import migrated_code

        code = migrated_code(code)[0]
    Path(folder).mkdir(parents=True, exist_ok=True)
    options = {"compat": "allensdk"} if package == "ours-compat" else {}
    names = {"MANIFEST": manifest, "SESSION": int(session), "FOLDER": folder, "OPTIONS": options}
    store = Store()
    for cell in code.split("\n# %% ")[1:]:
        title, _, body = cell.partition("\n")
        names.pop("result", None)

        def run(body=body):
            exec(compile(body, "cell", "exec"), names)
            return names["result"]

        store.keep(title, run)
    store.save(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
