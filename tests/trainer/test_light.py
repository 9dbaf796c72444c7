import subprocess
import sys

CODE = """
import sys
import ei_automation.trainer.request, ei_automation.trainer.train, ei_automation.trainer.weights
import ei_automation.trainer.validation, ei_automation.trainer.order, ei_automation.trainer.architectures.registry
print(sorted({'tensorflow', 'keras', 'h5py', 'sklearn'} & set(sys.modules)))
"""


def test_the_light_modules_import_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
