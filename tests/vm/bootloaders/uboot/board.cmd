# The board's part of the boot: what a U-Boot with CONFIG_ENV_IS_IN_MMC and CONFIG_SYS_REDUNDAND_ENVIRONMENT does by itself,
# for the stock ROM of QEMU, whose environment is stored nowhere. Then uboot-boot.cmd follows, unchanged.
#
# A copy is: CRC-32 (4 bytes), flags (1 byte), data. `env import -c` of this ROM knows no flags byte: it wants the CRC
# right before the data. So the CRC is moved one byte up, over the flags, which were read before.
#
# @NAME@ is filled in by bootloader.bash: sectors of the disk, in hexadecimal.

setenv sk_copy_bytes 0x3fff
setenv sk_scratch 0x8200010
# Copies at 0x8000000 and 0x8100000; their flags at 0x8200000 and 0x8200001, which save.cmd looks at, too.
setenv sk_valid_1
setenv sk_valid_2
if virtio read 0x8000000 @ENVIRONMENT_1@ 0x20; then
  cp.b 0x8000004 0x8200000 1
  cp.b 0x8000000 ${sk_scratch} 4
  cp.b ${sk_scratch} 0x8000001 4
  # Imports nothing that there is: asks for the CRC only.
  if env import -c 0x8000001 ${sk_copy_bytes} sk_nothing; then setenv sk_valid_1 1; fi
fi
if virtio read 0x8100000 @ENVIRONMENT_2@ 0x20; then
  cp.b 0x8100004 0x8200001 1
  cp.b 0x8100000 ${sk_scratch} 4
  cp.b ${sk_scratch} 0x8100001 4
  if env import -c 0x8100001 ${sk_copy_bytes} sk_nothing; then setenv sk_valid_2 2; fi
fi

# Of two valid copies the one with the higher flags, where 0 follows 255; with equal flags the first: env_check_redund().
setenv sk_current
if test -n "${sk_valid_1}"; then setenv sk_current 1; fi
if test -n "${sk_valid_2}"; then
  if test -z "${sk_valid_1}"; then
    setenv sk_current 2
  else
    if itest.b *0x8200001 -gt *0x8200000; then setenv sk_current 2; fi
    if itest.b *0x8200000 -eq 0xff; then
      if itest.b *0x8200001 -eq 0; then setenv sk_current 2; fi
    fi
    if itest.b *0x8200001 -eq 0xff; then
      if itest.b *0x8200000 -eq 0; then setenv sk_current 1; fi
    fi
  fi
fi
if test "${sk_current}" = "1"; then env import -c 0x8000001 ${sk_copy_bytes}; setenv sk_current 1; fi
if test "${sk_current}" = "2"; then env import -c 0x8100001 ${sk_copy_bytes}; setenv sk_current 2; fi
echo "Board: environment copy ${sk_current} (valid: ${sk_valid_1} ${sk_valid_2}), order ${BOOT_ORDER}, A ${BOOT_A_LEFT}, B ${BOOT_B_LEFT}"

# What the board provides to uboot-boot.cmd: set behind the import, as nothing that was saved may replace it.
setenv sk_addr 0x8400000
setenv sk_addr_second 0x8400200
setenv sk_read_confirmed 'virtio read ${sk_addr} @CONFIRMED@ 2'
setenv sk_bootargs 'console=ttyS0,115200 quiet loglevel=3 panic=1 ro'
setenv sk_save 'source 0x7200000'
load virtio 0:1 0x7200000 /save.scr
# The RAM disk lies beyond what the kernel unpacks itself to.
setenv sk_start 'if test "${sk_slot}" = "A"; then setenv sk_part @SLOT_A@; else setenv sk_part @SLOT_B@; fi; setenv bootargs ${bootargs} root=/dev/vda${sk_part}; if ext4load virtio 0:${sk_part} 0x1000000 /vmlinuz; then if ext4load virtio 0:${sk_part} 0x10000000 /initrd; then zboot 0x1000000 - 0x10000000 ${filesize}; fi; fi'

