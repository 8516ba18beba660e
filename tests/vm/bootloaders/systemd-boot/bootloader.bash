# shellcheck shell=bash disable=SC2034,SC2154  # names that make-images uses and sets
# systemd-boot on the virtual machine, started by UEFI firmware (OVMF), for make-images: our entries, and a GRUB image per
# slot that loads the slot's own kernel. See make-images for what each function has to do and what it may use.

BOOTLOADER_BOOT_TYPE=uefi
BOOTLOADER_BOOT_MIB=16
BOOTLOADER_MODULES='nls_cp437 nls_ascii nls_utf8 fat vfat efivarfs'

bootloader_configuration() {
  echo 'backend = "efi"'
  echo 'efi-loader = "systemd-boot"'
  echo 'efi-partition = "/efi"'
}

# fsck.fat before every mount, as scripts/README.md wants it.
bootloader_rootfs() {
  local tree=$1
  mkdir -p "$tree/efi" "$tree/boot"
  ln -s ../vmlinuz "$tree/boot/vmlinuz"
  ln -s ../initrd "$tree/boot/initrd.img"
  install -s -m 0755 /usr/sbin/fsck.fat "$tree/sbin/fsck.fat"
  copy_libraries "$tree" /usr/sbin/fsck.fat
  {
    echo "$VM_BOOT_DEVICE /efi vfat errors=remount-ro"
    echo 'efivarfs /sys/firmware/efi/efivars efivarfs rw'
  } >"$tree/etc/vm-mounts"
}

# grub_image OUT MODULES CONFIGURATION
grub_image() {
  grub-mkstandalone -O x86_64-efi -o "$1" --locales= --fonts= --themes= --modules="$2" --install-modules= \
    "boot/grub/grub.cfg=$3"
}

bootloader_install() {
  local disk=$1 scripts=$root/bootloader-hooks/scripts/efi tree=$work/boot slot number serial
  export MTOOLS_SKIP_CHECK=1
  rm -rf "$tree"
  mkdir -p "$tree"/{EFI/BOOT,EFI/slotkeeper,loader/entries,loader/slotkeeper}
  cp /usr/lib/systemd/boot/efi/systemd-bootx64.efi "$tree/EFI/BOOT/BOOTX64.EFI"
  cp "$scripts/loader.conf" "$tree/loader/"
  cp "$scripts"/{a,b}.conf "$tree/loader/slotkeeper/"
  cp "$scripts/slotkeeper-rescue.conf" "$tree/loader/entries/"
  # What starts before `provision` has run.
  { echo 'sort-key slotkeeper-50' && cat "$scripts/a.conf"; } >"$tree/loader/entries/slotkeeper-a.conf"
  serial='serial --unit=0 --speed=115200\nterminal_output serial\necho "Slotkeeper: starting slot @SLOT@"'
  for slot in "A $VM_SLOT_A" "B $VM_SLOT_B"; do
    number=${slot#* } slot=${slot% *}
    sed -e "1i $serial" "$scripts/slot.cfg" |
      sed -e "s/@SLOT@/$slot/g; s/@PARTITION@/gpt$number/; s|PARTLABEL=@ROOT@|/dev/vda$number|" \
        -e 's/quiet panic=10/console=ttyS0,115200 quiet loglevel=3 panic=1 no_timer_check/' >"$work/slot.cfg"
    grub_image "$tree/EFI/slotkeeper/$slot.efi" 'part_gpt fat ext2 linux echo test sleep reboot serial terminal' "$work/slot.cfg"
  done
  sed -e "s/gpt2/gpt$VM_STATE/" "$scripts/rescue.cfg" >"$work/rescue.cfg"
  grub_image "$tree/EFI/slotkeeper/rescue.efi" 'part_gpt fat loadenv chain search echo test sleep reboot' "$work/rescue.cfg"
  rm -f "$work/boot.img"
  truncate --size "${BOOTLOADER_BOOT_MIB}M" "$work/boot.img"
  mformat -i "$work/boot.img" -T $((BOOTLOADER_BOOT_MIB * 2048)) ::
  mcopy -i "$work/boot.img" -s "$tree/EFI" "$tree/loader" ::/
  put_partition "$disk" "$VM_BOOT" "$work/boot.img"
  cp /usr/share/OVMF/OVMF_VARS_4M.fd "$out/vars.fd"
}

# Variables of the firmware do not outlive a machine: nothing of ours is kept in them.
bootloader_qemu() {
  printf '%s\n' -machine q35 \
    -drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
    -drive if=pflash,format=raw,unit=1,file=@COPY:vars.fd@
}

bootloader_marker() { echo 'BdsDxe: starting'; }
