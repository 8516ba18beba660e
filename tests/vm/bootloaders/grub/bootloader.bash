# shellcheck shell=bash disable=SC2034,SC2154  # names that make-images uses and sets
# GRUB on the virtual machine, started by a PC BIOS, for make-images: our grub.cfg and what a board adds. See make-images for
# what each function has to do and what it may use.

BOOTLOADER_BOOT_TYPE=linux
BOOTLOADER_BOOT_MIB=4
GRUB_CORE_SECTOR=64 # between the partition table and the first partition

bootloader_configuration() {
  echo 'backend = "grub"'
  echo 'grubenv = "/boot/grub/grubenv"'
}

# The boot partition holds grubenv, so the firmware mounts it.
bootloader_rootfs() {
  mkdir -p "$1/boot"
  echo "$VM_BOOT_DEVICE /boot ext4 noatime" >"$1/etc/vm-mounts"
}

# put_number FILE OFFSET NUMBER: 8 bytes, little endian.
put_number() {
  perl -e 'print pack("Q<", $ARGV[0])' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

bootloader_install() {
  local disk=$1 modules=/usr/lib/grub/i386-pc tree=$work/boot
  rm -rf "$tree"
  mkdir -p "$tree/grub"
  cp "$root/bootloader-hooks/scripts/grub.cfg" "$tree/grub/grub.cfg"
  sed -e "s/@STATE@/$VM_STATE/; s/@SLOT_A@/$VM_SLOT_A/; s/@SLOT_B@/$VM_SLOT_B/" "$here/bootloaders/grub/board.cfg" \
    >"$tree/grub/slotkeeper-board.cfg"
  make_filesystem "$work/boot.img" "$BOOTLOADER_BOOT_MIB" "$tree" -b 4096
  put_partition "$disk" "$VM_BOOT" "$work/boot.img"

  grub-mkimage -O i386-pc -d "$modules" -p "(hd0,gpt$VM_BOOT)/grub" -o "$work/core.img" \
    biosdisk part_gpt ext2 normal linux test true echo serial terminal loadenv configfile sleep reboot
  # The boot sector says where the core image begins, its first sector where it goes on.
  cp "$modules/boot.img" "$work/boot-sector"
  put_number "$work/boot-sector" $((0x5c)) "$GRUB_CORE_SECTOR"
  put_number "$work/core.img" $((0x1f4)) $((GRUB_CORE_SECTOR + 1))
  [ "$(stat -c %s "$work/core.img")" -le $((($(first_sector "$VM_BOOT") - GRUB_CORE_SECTOR) * 512)) ] ||
    { echo 'make-images: the core image of GRUB has no room' >&2; exit 1; }
  dd if="$work/boot-sector" of="$disk" bs=440 count=1 conv=notrunc status=none
  dd if="$work/core.img" of="$disk" bs=512 seek="$GRUB_CORE_SECTOR" conv=notrunc status=none
}

# The PC's own BIOS is QEMU's default.
bootloader_qemu() { :; }

bootloader_marker() { echo 'Board: GRUB begins'; }
