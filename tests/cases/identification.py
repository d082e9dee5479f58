"""Prints the identification field of a volume, as dissect.fve reads it.

    python3 identification.py VOLUME BEK
"""
import sys
from dissect.fve.bde import BDE
from dissect.fve.bde.information import Dataset

disk = BDE(open(sys.argv[1], "rb"))
key = Dataset(open(sys.argv[2], "rb")).find_startup_key()
protectors = disk.information.dataset.find_external_vmk()
vmk = next(one for one in protectors if one.identifier == key.identifier).decrypt(key.external_key())
disk.unlock(vmk)
[field] = [datum for datum in disk.information.dataset.data if int(datum.role) == 0xE]
sys.stdout.buffer.write(field.unbox(vmk).text.encode())
