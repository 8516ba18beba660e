# shellcheck shell=bash disable=SC2034,SC2154  # names that make-images uses and sets
# U-Boot on the virtual machine, for make-images: stock ROM of the package u-boot-qemu, our boot script, and what a board
# adds. See make-images for what each function has to do and what it may use.

BOOTLOADER_BOOT_TYPE=linux
BOOTLOADER_BOOT_MIB=2
UBOOT_COPY_OFFSETS=(0 524288) # of the two copies of the environment, in its partition
UBOOT_COPY_BYTES=16384

bootloader_configuration() {
  echo 'backend = "uboot"'
  echo 'fw-env-config = "/etc/fw_env.config"'
}

bootloader_rootfs() {
  local tree=$1 offset
  for offset in "${UBOOT_COPY_OFFSETS[@]}"; do
    printf '%s 0x%x 0x%x\n' "$VM_ENVIRONMENT_DEVICE" "$offset" "$UBOOT_COPY_BYTES"
  done >"$tree/etc/fw_env.config"
}

bootloader_install() {
  local disk=$1 tree=$work/boot first second confirmed
  rm -rf "$tree"
  mkdir "$tree"
  first=$(($(first_sector "$VM_ENVIRONMENT") + UBOOT_COPY_OFFSETS[0] / 512))
  second=$(($(first_sector "$VM_ENVIRONMENT") + UBOOT_COPY_OFFSETS[1] / 512))
  confirmed=$(($(first_sector "$VM_STATE") + 8))
  for script in board save; do
    sed -e "s/@ENVIRONMENT_1@/$(printf '0x%x' "$first")/; s/@ENVIRONMENT_2@/$(printf '0x%x' "$second")/" \
      -e "s/@CONFIRMED@/$(printf '0x%x' "$confirmed")/; s/@SLOT_A@/$VM_SLOT_A/; s/@SLOT_B@/$VM_SLOT_B/" \
      "$here/bootloaders/uboot/$script.cmd" >"$work/$script.cmd"
  done
  cat "$work/board.cmd" "$root/bootloader-hooks/scripts/uboot-boot.cmd" >"$work/boot.cmd"
  mkimage -A x86 -T script -d "$work/boot.cmd" "$tree/boot.scr" >/dev/null
  mkimage -A x86 -T script -d "$work/save.cmd" "$tree/save.scr" >/dev/null
  make_filesystem "$work/boot.img" "$BOOTLOADER_BOOT_MIB" "$tree"
  put_partition "$disk" "$VM_BOOT" "$work/boot.img"
}

bootloader_qemu() {
  printf '%s\n' -bios /usr/lib/u-boot/qemu-x86/u-boot.rom
}

bootloader_marker() { echo '## Executing script at 07000000'; }
